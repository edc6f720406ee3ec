"""What several test modules share: event loops, certificates, scripted origins, raw ASGI calls, a running gateway."""
