"""`instrument()` finds SDKs by their methods, whenever and however they are imported."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import subprocess
import sys
import threading
import types

import groq
import httpx
import pytest
import sdk
from telemetry import Telemetry

import thumbprint
from thumbprint.capture import _modules
from thumbprint.capture._hooks import Hook

LOG_ID = {"cf-aig-log-id": "01JADMCQQQBWH3NXZ5GCRN98DP"}

# A package as the generator of the OpenAI SDK makes it, as far as capture is concerned.
BASE = """
import httpx

class BaseClient:
    def _build_request(self, url):
        return httpx.Request("POST", url)

    def _make_status_error_from_response(self, response):
        return RuntimeError(response.status_code)

class SyncAPIClient(BaseClient):
    def ask(self, url="https://gateway.ai.cloudflare.com/v1/{a}/g/openai/chat/completions", headers={headers}):
        response = httpx.Response(200, headers=headers, request=self._build_request(url))
        return self._process_response(response=response)

    def _process_response(self, *, response):
        return Answer()

class Answer:
    pass
""".replace("{a}", "a" * 32).replace("{headers}", repr(LOG_ID))


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Write packages that can be imported as long as the test lasts; return the function that writes one."""
    monkeypatch.syspath_prepend(tmp_path)
    written = []

    def write(name, code=BASE, init=""):
        folder = tmp_path.joinpath(*name.split("."))
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(init)
        (folder / "_base_client.py").write_text(code)
        importlib.invalidate_caches()
        written.append(name.partition(".")[0])
        return f"{name}._base_client"

    yield write
    for loaded in list(sys.modules):
        if loaded.partition(".")[0] in written:
            del sys.modules[loaded]


def captures(module, **kwargs):
    """Make a call with a client of the module; return how many were captured."""
    with thumbprint.scope() as scope:
        module.SyncAPIClient().ask(**kwargs)
    return len(scope.refs)


def warnings(caplog):
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


def hooked(owner):
    return [name for name, value in vars(owner).items() if isinstance(value, Hook)]


# when an SDK is imported


@pytest.mark.parametrize("name", ["some_sdk", "company.cloud.sdk"])
def test_an_sdk_is_found_by_its_methods_before_and_after_it_is_imported(package, name):
    module = package(name)
    if "." in name:
        package("company2")  # another of the kind, that nobody imports
    first = importlib.import_module(module)
    thumbprint.instrument()
    assert captures(first) == 1
    thumbprint.uninstrument()
    assert captures(first) == 0

    del sys.modules[module]
    thumbprint.instrument()
    again = importlib.import_module(module)
    assert again is not first
    assert captures(again) == 1
    assert "company2._base_client" not in sys.modules


def test_an_sdk_that_is_imported_after_uninstrument_is_left_alone(package):
    module = package("some_sdk")
    finders = list(sys.meta_path)
    thumbprint.instrument()
    thumbprint.uninstrument()
    assert sys.meta_path == finders
    assert hooked(importlib.import_module(module).SyncAPIClient) == []
    thumbprint.instrument()
    assert captures(sys.modules[module]) == 1


def test_everything_is_put_back_as_it_was(package):
    module = importlib.import_module(package("some_sdk"))
    before = [dict(vars(owner)) for owner in (module.BaseClient, module.SyncAPIClient)]
    thumbprint.instrument()
    assert hooked(module.SyncAPIClient) == ["_process_response"]
    thumbprint.uninstrument()
    assert [dict(vars(owner)) for owner in (module.BaseClient, module.SyncAPIClient)] == before


def test_a_module_that_is_reloaded_is_captured_again_and_so_are_its_old_clients(package):
    module = importlib.import_module(package("some_sdk"))
    old = module.SyncAPIClient
    for expected in (0, 1):
        importlib.reload(module)
        assert captures(module) == expected
        thumbprint.instrument()
    importlib.reload(module)
    assert captures(module) == 1
    assert module.SyncAPIClient is not old
    assert captures(types.SimpleNamespace(SyncAPIClient=old)) == 0  # it was replaced before there were any hooks
    newer = module.SyncAPIClient
    importlib.reload(module)
    assert captures(types.SimpleNamespace(SyncAPIClient=newer)) == 1
    thumbprint.uninstrument()
    assert hooked(newer) == hooked(module.SyncAPIClient) == []


def test_the_loader_of_a_module_is_its_own(package):
    module = package("some_sdk")
    thumbprint.instrument()
    loaded = importlib.import_module(module)
    assert type(loaded.__loader__) is type(loaded.__spec__.loader) is importlib.machinery.SourceFileLoader


def test_a_module_that_cannot_be_imported_fails_as_ever(package):
    module = package("some_sdk", code="raise ImportError('of its own')")
    thumbprint.instrument()
    with pytest.raises(ImportError, match="of its own"):
        importlib.import_module(module)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_sdk._base_client")


def test_what_was_found_before_uninstrument_and_is_loaded_afterwards_is_left_alone(package):
    name = package("some_sdk")
    thumbprint.instrument()
    spec = importlib.util.find_spec(name)
    thumbprint.uninstrument()
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert hooked(module.SyncAPIClient) == []


def test_a_module_that_somebody_makes_by_hand_is_loaded_and_captured_too(package):
    name = package("some_sdk")
    thumbprint.instrument()
    spec, module = importlib.util.find_spec(name), types.ModuleType(name)
    spec.loader.exec_module(module)
    assert (module.__loader__, module.__spec__) == (None, None)
    assert captures(module) == 1


def test_a_folder_without_code_is_no_sdk(package, tmp_path):
    package("some_sdk")
    (tmp_path / "some_sdk" / "_base_client.py").unlink()
    (tmp_path / "some_sdk" / "_base_client").mkdir()
    thumbprint.instrument()
    assert importlib.import_module("some_sdk._base_client").__path__


class Delegating:
    """A finder that has the whole machinery look once more, as wrapt's and others' do."""

    def __init__(self):
        self.looking = False

    def find_spec(self, name, path=None, target=None):
        if self.looking or not name.endswith("_base_client"):
            return None
        self.looking = True
        try:
            return importlib.util.find_spec(name)
        finally:
            self.looking = False


class Legacy:
    """A finder of a kind that Python no longer asks."""


@pytest.mark.parametrize("place", ["ahead", "behind", "both"])
def test_it_gets_along_with_other_finders(package, monkeypatch, place):
    module = package("some_sdk")
    importlib.import_module("some_sdk")
    monkeypatch.setattr(sys, "meta_path", [Legacy(), *sys.meta_path])
    if place != "ahead":
        sys.meta_path.insert(0, Delegating())
    thumbprint.instrument()
    other = thumbprint.Thumbprint()
    other.instrument()
    if place != "behind":
        sys.meta_path.insert(0, Delegating())
    assert captures(importlib.import_module(module)) == 1
    thumbprint.uninstrument()
    other.uninstrument()
    other.close()
    assert hooked(sys.modules[module].SyncAPIClient) == []


def test_a_finder_that_somebody_took_out_is_not_missed(package):
    thumbprint.instrument()
    ours = sys.meta_path.pop(0)
    assert isinstance(ours, _modules.ModuleWatch)
    assert ours.find_spec(package("some_sdk")) is None
    thumbprint.uninstrument()


class Lazy:
    """A finder that has modules loaded when they are first touched."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if not name.endswith("_base_client"):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


@pytest.mark.parametrize("first", ["import", "instrument"])
def test_a_lazy_module_stays_asleep_until_it_is_used_and_is_captured_then(package, monkeypatch, first):
    module = package("some_sdk", code=f"{BASE}\nimport some_sdk\nsome_sdk.awake = True\n")
    monkeypatch.setattr(sys, "meta_path", [Lazy, *sys.meta_path])
    steps = {"import": lambda: importlib.import_module(module), "instrument": thumbprint.instrument}
    steps.pop(first)()
    [step] = steps.values()
    step()
    assert not hasattr(sys.modules["some_sdk"], "awake")
    assert captures(sys.modules[module]) == 1
    assert sys.modules["some_sdk"].awake


def test_an_sdk_that_is_being_imported_by_another_thread_is_captured_as_soon_as_it_is_there(package):
    code = f"import threading, some_sdk\nsome_sdk.begun.set()\nassert some_sdk.go_on.wait(30)\n{BASE}"
    module = package(
        "some_sdk", code=code, init="import threading\nbegun, go_on = threading.Event(), threading.Event()"
    )
    outer = importlib.import_module("some_sdk")
    thread = threading.Thread(target=importlib.import_module, args=(module,))
    thread.start()
    assert outer.begun.wait(30)
    thumbprint.instrument()
    package("another")
    importlib.import_module("another")  # something is imported meanwhile
    outer.go_on.set()
    thread.join(30)
    importlib.import_module("another._base_client")  # and something afterwards, as the rest of the SDK would be
    assert captures(sys.modules[module]) == 1


def test_threads_that_switch_it_on_and_off_while_sdks_are_imported_harm_no_import(package):
    modules = [package(f"sdk_{number}") for number in range(20)]
    failed, ended = [], threading.Event()

    def switch():
        while not ended.is_set():
            thumbprint.instrument()
            thumbprint.uninstrument()

    def load():
        try:
            for module in modules:
                importlib.import_module(module)
        except Exception as error:
            failed.append(error)

    finders = list(sys.meta_path)
    switching = threading.Thread(target=switch)
    loading = [threading.Thread(target=load) for _ in range(3)]
    for thread in (switching, *loading):
        thread.start()
    for thread in loading:
        thread.join(60)
    ended.set()
    switching.join(60)
    assert failed == []
    assert sys.meta_path == finders
    assert [hooked(sys.modules[module].SyncAPIClient) for module in modules] == [[]] * 20
    thumbprint.instrument()
    assert [captures(sys.modules[module]) for module in modules] == [1] * 20


# what an SDK is


@pytest.mark.parametrize(
    "code",
    [
        "class BaseClient: pass",  # of anybody's: the name is common
        "SyncAPIClient = AsyncAPIClient = None",
        "",
    ],
)
def test_a_module_of_the_same_name_that_is_of_no_sdk_is_passed_over(package, caplog, code):
    thumbprint.instrument()
    importlib.import_module(package("some_package", code=code))
    assert warnings(caplog) == []


def test_an_sdk_without_the_expected_methods_is_told_of_once(package, caplog):
    module = package("some_sdk", code=BASE.replace("_make_status_error_from_response", "_make_status_error"))
    thumbprint.instrument()
    loaded = importlib.import_module(module)
    thumbprint.uninstrument()
    thumbprint.instrument()
    [record] = warnings(caplog)
    assert "some_sdk._base_client lacks _make_status_error_from_response" in record.getMessage()
    assert captures(loaded) == 0


def test_a_module_that_takes_no_hooks_is_imported_all_the_same(package, caplog):
    frozen = """
class Frozen(type):
    def __setattr__(cls, name, value):
        raise AttributeError(f"{name}: this class is frozen")
"""
    code = frozen + BASE.replace("class SyncAPIClient(BaseClient)", "class SyncAPIClient(BaseClient, metaclass=Frozen)")
    module = package("some_sdk", code=code)
    thumbprint.instrument()
    loaded = importlib.import_module(module)
    assert captures(loaded) == 0
    assert [record.getMessage() for record in warnings(caplog)] == [f"the calls of {module} are not captured"]


def test_what_is_no_module_in_sys_modules_is_left_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "some._base_client", object())
    monkeypatch.setitem(sys.modules, "other._base_client", None)
    made = types.ModuleType("made._base_client")  # by hand, without a spec
    exec(BASE, vars(made))  # noqa: S102
    made.__spec__ = None
    monkeypatch.setitem(sys.modules, "made._base_client", made)
    thumbprint.instrument()
    assert captures(made) == 1


# which calls count


def test_only_sdks_of_models_are_captured_by_their_spans_alone(package):
    """The same generator makes SDKs of banks and mail services: without an id, their calls are nobody's answers."""
    module = importlib.import_module(package("some_bank"))
    thumbprint.configure(backends=[thumbprint.Cloudflare(), thumbprint.OpenTelemetry()])
    thumbprint.instrument()

    def answer(request):
        message = {"role": "assistant", "content": "Ulm"}
        return httpx.Response(200, json={"id": "c", "choices": [{"index": 0, "message": message}]})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http, Telemetry().span(), thumbprint.scope() as scope:
        groq.Groq(api_key="any", http_client=http).chat.completions.create(model="llama", messages=sdk.asked())
        module.SyncAPIClient().ask(headers={})
        assert [(ref.backend, ref.operation) for ref in scope.refs] == [("opentelemetry", "chat")]
        module.SyncAPIClient().ask()
        assert [ref.backend for ref in scope.refs] == ["opentelemetry", "cloudflare"]


def test_whoever_wraps_a_client_says_that_it_makes_calls_to_models(package):
    module = importlib.import_module(package("some_sdk"))
    thumbprint.configure(backends=[thumbprint.OpenTelemetry()])
    client = thumbprint.wrap(module.SyncAPIClient())
    with Telemetry().span(), thumbprint.scope() as scope:
        client.ask(headers={})
    assert [ref.backend for ref in scope.refs] == ["opentelemetry"]


@pytest.mark.parametrize("sdk_name", [name for name in ("anthropic", "groq") if importlib.util.find_spec(name)])
@pytest.mark.parametrize("order", ["before", "after"])
def test_the_real_ones_are_found_without_being_imported(emulator, sdk_name, order):
    client = {"anthropic": "anthropic.Anthropic", "groq": "groq.Groq"}[sdk_name]
    call = {
        "anthropic": 'messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}])',
        "groq": 'chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])',
    }[sdk_name]
    steps = [f"import {sdk_name}", "thumbprint.instrument()"]
    script = f"""
import sys, thumbprint
{steps[0] if order == "after" else steps[1]}
assert ({sdk_name!r} in sys.modules) == {order == "after"}
{steps[1] if order == "after" else steps[0]}
assert "openai" not in sys.modules
with thumbprint.scope() as scope:
    {client}(base_url={emulator.cloudflare_openai_url.replace("/openai", f"/{sdk_name}")!r}, api_key="any").{call}
print(scope.last.id)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == emulator.cloudflare_logs()[0]["id"]
