"""One server for thinking, imagining and acting: what is asked is kept as a job, done by a process of its own.

settings.py  problems.py            what the operator chooses; what a client is told when something cannot be
logs.py                             what the operator reads
keys.py      words.py               who may ask; what is refused by its words
inbound.py   fetch.py   decode.py   what strangers send: sniffed and limited at the door, opened only in the worker
forms.py     talk.py                bodies of HTTP become the one request of ``modes.Asked``, or chat turns
jobs.py tables.py files.py bell.py   the job table, the files, and the bell between the processes
worker.py    results.py             the process that has the model: claims jobs in batches, writes results whole
app.py       routes_*.py            the HTTP side
memory.py                           what a request will take, asked before it is taken
sockets.py                          what all websockets share
policy_socket.py  wire.py           robots: the openpi protocol, MessagePack without objects
realtime.py  session.py             a world session: actions in, film out; what it keeps
studio/                             the page in the browser
"""
