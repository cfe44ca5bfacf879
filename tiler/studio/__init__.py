"""Pages in a browser over the same public functions: a store that is watched, and the studio.

Starlette and uvicorn serve a page that is written by hand, and OpenSeadragon from its npm package. NiceGUI and Panel
make such pages with less code, but theirs run inline scripts (Vue's and Bokeh's templates are compiled in the browser),
which a content security policy worth its name forbids, and keep a websocket open that every tile would have to share.
"""
