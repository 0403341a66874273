from django.urls import path

from subscribers import views

urlpatterns = [
    path("f/<slug:slug>/", views.signup, name="signup"),
    path("s/<str:token>/", views.confirm, name="confirm"),
]
