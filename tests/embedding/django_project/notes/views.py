import threading
from urllib.request import urlopen

from django.http import HttpResponse, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt

from notes.models import Note


def example(request):
    return HttpResponse("example view")


def notes(request):
    return HttpResponse("\n".join(note.text for note in Note.objects.order_by("pk")))


@csrf_exempt
def add(request):
    Note.objects.create(text=request.POST["text"])
    return HttpResponse(threading.current_thread().name)


def environ(request):
    request.get_host()
    names = ("QUERY_STRING", "SERVER_PORT", "REMOTE_ADDR", "HTTP_HOST")
    return HttpResponse("\n".join(f"{name}={request.environ[name]}" for name in names))


def streaming(request):
    return StreamingHttpResponse(iter(["a", "b", "c"]))


def subview(request):
    """A request to the server in a request of it."""
    with urlopen(request.GET["of"] + "/notes/") as page:
        return HttpResponse(page.read())
