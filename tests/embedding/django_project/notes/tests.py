"""What Django's own tests of its live server check, on Lockgate."""

import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

from django.contrib.staticfiles.testing import StaticLiveServerTestCase
from django.db import connection
from django.test import LiveServerTestCase, modify_settings
from lockgate_live_server import LockgateThread

from notes.models import Note


class Base(LiveServerTestCase):
    server_thread_class = LockgateThread
    fixtures = ["notes.json"]

    def read(self, path, data=None):
        with urlopen(self.live_server_url + path, data) as page:
            return page.read().decode()


class AddressTest(Base):
    def test_url_and_port(self):
        self.assertEqual(self.live_server_url, f"http://localhost:{self.server_thread.port}")
        self.assertNotEqual(self.server_thread.port, 0)
        self.assertEqual(self.server_thread.server.port, self.server_thread.port)

    def test_a_port_in_use_is_an_error_of_the_class(self):
        class Second(Base):
            port = self.server_thread.port

        with self.assertRaises(OSError):
            Second.setUpClass()
        Second.doClassCleanups()


class ViewsTest(Base):
    def test_view(self):
        self.assertEqual(self.read("/"), "example view")

    def test_many_requests_at_the_same_time(self):
        # Without the database: from Python 3.12 on queries of several threads at the same time fail
        # on one connection to SQLite, also with Django's own live server.
        with ThreadPoolExecutor(8) as pool:
            pages = list(pool.map(lambda _: self.read("/"), range(100)))
        self.assertEqual(set(pages), {"example view"})

    def test_404(self):
        with self.assertRaises(HTTPError) as caught:
            urlopen(self.live_server_url + "/unknown")
        self.assertEqual(caught.exception.code, 404)
        caught.exception.close()

    @modify_settings(ALLOWED_HOSTS={"remove": "localhost"})
    def test_settings_of_the_test_count(self):
        with self.assertRaises(HTTPError) as caught:
            urlopen(self.live_server_url + "/environ/")
        self.assertEqual(caught.exception.code, 400)
        caught.exception.close()

    def test_environ(self):
        found = self.read("/environ/?a=b").splitlines()
        self.assertIn("QUERY_STRING=a=b", found)
        self.assertIn(f"HTTP_HOST={urlsplit(self.live_server_url).netloc}", found)

    def test_static_and_media_files(self):
        # Without django.contrib.staticfiles a live server serves STATIC_ROOT only.
        self.assertEqual(self.read("/media/example.txt"), "a media file\n")
        with self.assertRaises(HTTPError) as caught:
            urlopen(self.live_server_url + "/static/example.txt")
        self.assertEqual(caught.exception.code, 404)
        caught.exception.close()

    def test_connections_are_kept_alive(self):
        host = urlsplit(self.live_server_url).netloc
        connection = http.client.HTTPConnection(host)
        for path in ("/", "/streaming/", "/"):
            connection.request("GET", path)
            response = connection.getresponse()
            self.assertEqual(response.status, 200)
            self.assertTrue(response.read())
            self.assertFalse(response.will_close)
        connection.close()


class DatabaseTest(Base):
    def test_fixtures_are_seen_by_requests(self):
        self.assertEqual(self.read("/notes/"), "from a fixture")

    def test_each_side_sees_what_the_other_has_written(self):
        Note.objects.create(text="from the test")
        thread = self.read("/add/", urlencode({"text": "from a request"}).encode())
        self.assertEqual(thread, "lockgate-worker")
        texts = ["from a fixture", "from the test", "from a request"]
        self.assertEqual([note.text for note in Note.objects.order_by("pk")], texts)
        self.assertEqual(self.read("/notes/").splitlines(), texts)

    def test_the_connection_stays_open(self):
        self.read("/notes/")
        self.assertTrue(connection.is_usable())

    def test_a_request_in_a_request(self):
        query = urlencode({"of": self.live_server_url})
        self.assertEqual(self.read(f"/subview/?{query}"), "from a fixture")


class StaticTest(StaticLiveServerTestCase):
    server_thread_class = LockgateThread

    def test_static_files_are_found_by_finders(self):
        with urlopen(self.live_server_url + "/static/example.txt") as page:
            self.assertEqual(page.read(), b"a static file\n")


class LastTest(Base):
    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.doClassCleanups()
        left = [thread for thread in threading.enumerate() if thread.name == "lockgate-worker"]
        assert not left, left
        assert cls.server_thread.connections_override["default"]._thread_sharing_count == 0

    def test_view(self):
        self.assertEqual(self.read("/"), "example view")
