"""Writes numbered items, reads them back, and remembers every write that was acknowledged, so that it can say at the
end whether one is lost.

1. Each writer has keys of its own and writes ever higher numbers to them, each with a text that follows from key and
   number. A call is made once, or as often as the SDK makes it by default.
2. After most writes it reads one of its keys, strongly. The number found must be the last acknowledged one, or one of
   those that were sent after it and whose fate is unknown; anything lower is a lost write, anything else is wrong.
3. At the end, calls are repeated until they succeed, and every key is read and then the whole table scanned.
"""

import collections
import random
import threading
import time

KEYS_PER_WRITER = 200
TEXT_BYTES = 300
PAUSE_AFTER_FAILURE_SECONDS = 0.1
FINAL_READ_SECONDS_MAX = 60
DETAILS_KEPT = 10
# Of the last calls that were answered: enough for one in a hundred.
LATENCIES_KEPT = 10_000


def text_of(key, number, size):
    """What the item of a key says with a number: so many bytes."""
    part = f"{key}={number};"
    return (part * (size // len(part) + 1))[:size]


class Key:
    """What one writer knows of one key."""

    def __init__(self):
        self.acknowledged = 0
        self.unknown = set()   # numbers sent after the acknowledged one, of which no answer came

    def allows(self, number):
        """Whether this number may be what the table holds."""
        return number == self.acknowledged or number in self.unknown

    def written(self, number):
        """A write was acknowledged: what was sent before it can no longer be what the table holds."""
        self.acknowledged = number
        self.unknown = {other for other in self.unknown if other > number}


class Checker:
    """The writers of one table, whose key is `pk` (S), or `pk` (S) and `sk` (S). They share the keys that are given, or have new
    ones. With a collection, that is every item's `pk`, and the keys are sort keys."""

    def __init__(self, client, table, writers=4, writes_per_second=40, keys=None, text_bytes=TEXT_BYTES, collection=None):
        self.client, self.table, self.collection = client, table, collection
        description = client.describe_table(TableName=table)["Table"]
        self.key_names = [part["AttributeName"] for part in description["KeySchema"]]
        self.run = f"{random.getrandbits(32):08x}"
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.pause = writers / writes_per_second
        self.counts = collections.Counter(acknowledged=0, read=0, failed=0, lost=0, wrong=0)
        self.errors = collections.Counter()
        self.details = []
        self.longest_gap = 0.0
        self.latencies = collections.deque(maxlen=LATENCIES_KEPT)
        self.last_success = time.monotonic()
        self.text_bytes = text_bytes
        names = keys or [f"{self.run}-{n}" for n in range(writers * KEYS_PER_WRITER)]
        self.keys = [{name: Key() for name in names[writer::writers]} for writer in range(writers)]
        self.threads = [threading.Thread(target=self.write, args=(keys,), daemon=True) for keys in self.keys]
        for thread in self.threads:
            thread.start()

    def attributes(self, name):
        """The primary key of an item."""
        names = [self.collection or name, name]
        return {attribute: {"S": name} for attribute, name in zip(self.key_names, names)}

    def write(self, keys):
        """One writer, until it is told to stop."""
        number = 0
        names = list(keys)
        while not self.stopping.wait(self.pause):
            number += 1
            name = names[number % len(names)]
            key = keys[name]
            # Unknown until the answer: noted before it is sent.
            key.unknown.add(number)
            item = {**self.attributes(name), "number": {"N": str(number)}, "text": {"S": self.text(name, number)}}
            if self.call("acknowledged", "put_item", Item=item) is None:
                continue
            key.written(number)
            name = random.choice(names[:number] if number < len(names) else names)
            answer = self.call("read", "get_item", Key=self.attributes(name), ConsistentRead=True)
            if answer is not None:
                self.check(name, keys[name], answer.get("Item"))

    def text(self, name, number):
        """What the item of a key says with a number."""
        return text_of(name, number, self.text_bytes)

    def call(self, counted, method, **parameters):
        """One call; None when it failed."""
        began = time.monotonic()
        try:
            answer = getattr(self.client, method)(TableName=self.table, **parameters)
        except Exception as error:   # whatever goes wrong on the way: it is counted by its name, and nothing is repeated
            # Errors of the connection have a response too, which is None.
            response = getattr(error, "response", None) or {}
            code = response.get("Error", {}).get("Code") or type(error).__name__
            with self.lock:
                self.counts["failed"] += 1
                self.errors[f"{method}: {code}"] += 1
            self.stopping.wait(PAUSE_AFTER_FAILURE_SECONDS)
            return None
        with self.lock:
            self.counts[counted] += 1
            now = time.monotonic()
            self.latencies.append(now - began)
            self.longest_gap = max(self.longest_gap, now - self.last_success)
            self.last_success = now
        return answer

    def check(self, name, key, item):
        """Holds what was read of a key to what may be there."""
        number = int(item["number"]["N"]) if item else 0
        if key.allows(number) and (item is None or item["text"]["S"] == self.text(name, number)):
            return
        kind = "lost" if number < key.acknowledged else "wrong"
        with self.lock:
            self.counts[kind] += 1
            if len(self.details) < DETAILS_KEPT:
                self.details.append(
                    f"{kind}: {name} has {number}, acknowledged {key.acknowledged}, unknown {sorted(key.unknown)}")

    def status(self):
        """The counts so far."""
        with self.lock:
            quiet = time.monotonic() - self.last_success
            latencies = sorted(self.latencies)
            slow = latencies[len(latencies) * 99 // 100] if latencies else 0.0
            return {**self.counts, "errors": dict(self.errors), "details": list(self.details),
                    "longestGapSeconds": round(max(self.longest_gap, quiet), 2), "p99Milliseconds": round(slow * 1000, 2)}

    def finish(self):
        """Stops writing, looks at every key, and says what was found."""
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        failed_while_writing = self.counts["failed"], dict(self.errors), self.longest_gap
        found = 0
        for keys in self.keys:
            for name, key in keys.items():
                answer = self.insist("get_item", Key=self.attributes(name), ConsistentRead=True)
                self.check(name, key, answer.get("Item"))
                found += "Item" in answer
        self.counts["failed"], self.errors, self.longest_gap = failed_while_writing
        return {**self.status(), "items": found, "scanned": self.scan(), "longestGapSeconds": round(self.longest_gap, 2)}

    def insist(self, method, **parameters):
        """A call that must succeed in the end."""
        deadline = time.monotonic() + FINAL_READ_SECONDS_MAX
        while True:
            try:
                return getattr(self.client, method)(TableName=self.table, **parameters)
            except Exception:
                if time.monotonic() > deadline:
                    raise
                time.sleep(PAUSE_AFTER_FAILURE_SECONDS)

    def scan(self):
        """How many of this run's items a scan of the whole table finds."""
        own = {name for keys in self.keys for name in keys}
        found, page = 0, {}
        while True:
            answer = self.insist("scan", ConsistentRead=True, **page)
            key = self.key_names[-1]
            found += sum(item[key]["S"] in own for item in answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return found
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
