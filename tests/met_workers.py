"""Workers of one training run that meet in threads of this process, without TensorFlow."""

import threading

from alloyk.runtime.cluster import Cluster
from alloyk.runtime.meeting import meet


def together(*functions):
    """Call functions in threads; return what each returned or raised."""
    found = [None] * len(functions)

    def call(number):
        try:
            found[number] = functions[number]()
        except Exception as error:
            found[number] = error

    threads = [threading.Thread(target=call, args=(n,)) for n in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


def meeting(workers, described=({},) * 3, timeout_s=10.0):
    return together(
        *(
            lambda i=i, what=what: meet(Cluster(workers, i), what, timeout_s)
            for i, what in enumerate(described)
        )
    )
