x = object()
