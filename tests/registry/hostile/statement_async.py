async def x():
    pass
