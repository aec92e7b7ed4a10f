# Runs Jumpstarter drivers for an exporter that is not written in Python.
#
# Requests come as lines of JSON on stdin, answers and log records leave on what was stdout. Each session has
# instances of its own, served by jumpstarter's session server on a Unix socket. The end of stdin ends the process.
import asyncio
import contextlib
import importlib
import json
import logging
import os
import sys
import threading
import uuid

# What drivers print must not be taken for an answer.
control = os.fdopen(os.dup(1), "wb")
os.dup2(2, 1)
guard = threading.Lock()


def send(message):
    line = json.dumps(message, default=str).encode() + b"\n"
    with guard:
        control.write(line)
        control.flush()


class Failure(Exception):
    def __init__(self, path, text):
        super().__init__(text)
        self.path = path


try:
    from jumpstarter.common import ExporterStatus
    from jumpstarter.exporter.session import Session
    from jumpstarter_driver_composite.driver import Composite, Proxy
except ImportError as err:
    send({"fatal": str(err), "module": getattr(err, "name", None), "python": sys.executable})
    sys.exit(1)


class Records(logging.Handler):
    def emit(self, record):
        try:
            text = record.getMessage()
            if record.exc_info:
                text += "\n" + logging.Formatter().formatException(record.exc_info)
            send({"log": {"logger": record.name, "level": record.levelno, "text": text[:65536]}})
        except Exception:
            pass


def load(path, kind):
    module, _, name = kind.rpartition(".")
    package = kind.split(".")[0]
    install = "pip install " + package.replace("_", "-")
    if not module:
        raise Failure(path, f"type '{kind}' is no class path like 'package.module.Class'")
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as err:
        if err.name and err.name.split(".")[0] == package:
            raise Failure(path, f"the package of type '{kind}' is not installed for {sys.executable}: {install}")
        raise Failure(path, f"type '{kind}' needs the missing module '{err.name}': {install} installs it, too")
    except AttributeError:
        raise Failure(path, f"package '{package}' has no '{kind}'; another version may have it: {install} --upgrade")
    except Exception as err:
        raise Failure(path, f"import of '{kind}' failed: {type(err).__name__}: {err}")


def make(spec, path):
    if "ref" in spec:
        return Proxy(ref=spec["ref"])
    children = {name: make(child, [*path, name]) for name, child in (spec.get("children") or {}).items()}
    if "type" not in spec:
        return Composite(children=children)
    made = load(path, spec["type"])
    try:
        return made(
            description=spec.get("description"),
            methods_description=spec.get("methods_description") or {},
            children=children,
            **(spec.get("config") or {}),
        )
    except Failure:
        raise
    except Exception as err:
        raise Failure(path, f"{spec['type']}: {type(err).__name__}: {err}")


def shape(name, driver):
    if isinstance(driver, Proxy):
        return {"ref": driver.ref}
    report = driver.report(name=name)
    return {
        "uuid": report.uuid,
        "labels": dict(report.labels),
        "description": report.description or None,
        "methods_description": dict(getattr(report, "methods_description", {})),
        "children": {child: shape(child, node) for child, node in driver.children.items()},
    }


class Sessions:
    def __init__(self):
        self.open = {}

    async def do_open(self, key, socket, drivers):
        root = make({"children": drivers}, [])
        stack = contextlib.AsyncExitStack()
        stack.callback(root.close)
        try:
            # References that lead out of this part of the tree are the exporter's business.
            session = Session(uuid=uuid.uuid4(), labels={}, root_device=root)
            if hasattr(session, "update_status"):
                session.update_status(ExporterStatus.LEASE_READY)
            await stack.enter_async_context(session.serve_port_async("unix://" + socket))
            self.open[key] = (root, stack)
            return {name: shape(name, node) for name, node in root.children.items()}
        except BaseException:
            await stack.aclose()
            raise

    async def do_reset(self, key):
        self.open[key][0].reset()

    async def do_close(self, key):
        if key in self.open:
            await self.open.pop(key)[1].aclose()

    async def handle(self, request):
        try:
            result = await getattr(self, "do_" + request.pop("do"))(**request.pop("with"))
            send({"id": request["id"], "result": result})
        except Failure as err:
            send({"id": request["id"], "error": str(err), "path": ".".join(err.path)})
        except BaseException as err:
            send({"id": request["id"], "error": f"{type(err).__name__}: {err}"})


async def main():
    logging.getLogger().addHandler(Records())
    logging.getLogger().setLevel(logging.INFO)
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    sessions = Sessions()
    send({"ready": sys.executable})
    running = set()
    while line := await reader.readline():
        task = asyncio.create_task(sessions.handle(json.loads(line)))
        running.add(task)
        task.add_done_callback(running.discard)
    for key in list(sessions.open):
        with contextlib.suppress(Exception):
            await asyncio.wait_for(sessions.do_close(key), 5)


try:
    asyncio.run(main())
finally:
    # A thread of a driver that never ends must not keep the process.
    os._exit(0)
