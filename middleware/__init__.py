"""The layers that every request passes, in the order written once in `middleware.stack`.

They are pure ASGI, keep nothing between requests and never buffer a body. Each reads and writes the request's
`RequestContext`; what the operator wrote reaches them only as compiled policies.
"""
