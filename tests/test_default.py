"""The process-wide default."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import thumbprint
from thumbprint import _default, _dispatch
from thumbprint._instrumentor import ThumbprintInstrumentor


def test_a_default_that_another_thread_made_first_is_taken(monkeypatch):
    first = thumbprint.Thumbprint()

    class Lock:
        def __enter__(self):
            _default._default = first

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(_default, "_lock", Lock())
    assert _default._get() is first


def test_an_exit_without_any_use_makes_no_default():
    script = "import thumbprint, atexit; atexit.register(lambda: print(thumbprint._default._default))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "None\n"


def test_the_instrumentor_switches_the_instrumentation_on_and_off():
    import openai  # noqa: PLC0415

    instrumentor = ThumbprintInstrumentor()
    before = openai._base_client.SyncAPIClient.__dict__
    assert instrumentor.instrumentation_dependencies() == ()
    instrumentor.instrument(tracer_provider=None)
    assert type(before["_process_response"]).__name__ == "Hook"
    instrumentor.uninstrument()
    assert type(before["_process_response"]).__name__ == "function"


def test_a_thumbprint_that_is_gone_at_exit_needs_no_closing():
    own = thumbprint.Thumbprint()
    reference = weakref.ref(own)
    del own
    gc.collect()
    assert reference() is None
    _dispatch._close_all()  # what runs at exit


def test_the_default_knows_the_current_scope():
    assert thumbprint.current_scope() is None
    with thumbprint.scope(id="outer") as outer, thumbprint.scope() as inner:
        assert thumbprint.current_scope() is inner
    assert thumbprint.current_scope() is None
    assert outer.id == "outer"
