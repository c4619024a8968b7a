"""A chat beside a Django application: `uvicorn examples.django_chat:application`, then `ws://127.0.0.1:8000/ws`.

Django knows neither WebSockets nor the lifespan: `beside` keeps both, and gives Django every other request. In a
project the last line is in its `asgi.py`, and the settings are the project's.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path

from mycelia import BaseSubsystem, MessageSystem
from mycelia.websocket import WebSocketSubsystem

system = MessageSystem("main")
chat = BaseSubsystem("chat", ms=system)
sockets = WebSocketSubsystem("websocket", ms=system, config={"websocket": {"type": "asgi", "path": "/ws"}})


@chat.route("chat://say", expose=True)
async def say(body: dict[str, Any]) -> dict[str, int]:
    heard = await sockets.websocket.broadcast({"event": "said", "data": body})
    return {"heard": heard.written}


async def announce(request: HttpRequest, text: str) -> JsonResponse:
    heard = await sockets.websocket.broadcast({"event": "announced", "data": text})
    return JsonResponse({"heard": heard.written})


urlpatterns = [path("announce/<str:text>", announce)]
settings.configure(ALLOWED_HOSTS=["127.0.0.1", "localhost"], ROOT_URLCONF=__name__, SECRET_KEY="only for this example")
application = sockets.asgi.beside(get_asgi_application())
