"""`minienvoy simulate`: many requests over a cluster's configuration, in no time and without a socket.

No Envoy counterpart. For learning what a policy does, and for choosing one: hosts fail, return, come and go on a
timeline, and after each event it is told which share every host has and what has moved.
"""
