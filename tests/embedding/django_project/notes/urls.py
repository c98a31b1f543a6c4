from django.urls import path

from notes import views

urlpatterns = [
    path("", views.example),
    path("notes/", views.notes),
    path("add/", views.add),
    path("environ/", views.environ),
    path("streaming/", views.streaming),
    path("subview/", views.subview),
]
