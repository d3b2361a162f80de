"""Shows that under protoc and under buf the plugin writes what the library writes, byte for byte.

    plugins.py --plugin PATH --generate PATH

The first is protoc-gen-grpcrouter, the second the example `generate` of grpcrouter-build. For each input
of the snapshots both tools run the plugin, and what it wrote must be the end of the package's file as the
library writes it. The tools are in the virtual environment of examples/grpcio. Exit codes: 0 all passed,
1 something differed, 3 the tools could not be installed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
PROTOS = os.path.join(HERE, "protos")
OPTIONS = os.path.join(ROOT, "proto")

# As in inputs/mod.rs.
EXTERN_PATHS = {"externs": [".shared.v1=crate::shared_types::v1"]}

# One run of a tool; alone on a machine it takes a second.
LIMIT_S = 60

sys.path.insert(0, os.path.join(ROOT, "examples", "grpcio"))
sys.dont_write_bytecode = True

from run import make_environment  # noqa: E402


def call(*command):
    done = subprocess.run(
        command, cwd=ROOT, timeout=LIMIT_S, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode != 0:
        raise RuntimeError(f"{os.path.basename(command[0])} failed: {done.stdout.strip()}")


def protoc(python, plugin, name, out, options):
    options = [f"--grpcrouter_opt={option}" for option in options]
    call(
        python, "-m", "grpc_tools.protoc", f"-I{PROTOS}", f"-I{OPTIONS}",
        f"--plugin=protoc-gen-grpcrouter={plugin}", f"--grpcrouter_out={out}", *options,
        f"{name}.proto",
    )


def buf(python, plugin, name, out, options):
    modules = [{"path": os.path.relpath(path, ROOT)} for path in (OPTIONS, PROTOS)]
    template = {"version": "v2", "plugins": [{"local": plugin, "out": out, "opt": options}]}
    call(
        os.path.join(os.path.dirname(python), "buf"), "generate", ".",
        "--config", json.dumps({"version": "v2", "modules": modules}),
        "--template", json.dumps(template),
        "--path", os.path.relpath(os.path.join(PROTOS, f"{name}.proto"), ROOT),
    )


def written(folder):
    """The files of a folder by their names."""
    files = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            files[name] = file.read()
    return files


def difference(library, plugin):
    """What the plugin wrote otherwise than the library; None where nothing."""
    if len(plugin) != 1:
        return f"it wrote {sorted(plugin)}, expected one file"
    [(name, text)] = plugin.items()
    # The library names a file as Rust does the modules: `r#type` for `type`.
    files = {file.replace("r#", ""): text for file, text in library.items()}
    own = files.get(name.replace(".grpcrouter.rs", ".rs"))
    if own is None:
        return f"it wrote {name}, the library {sorted(library)}"
    _, _, routers = text.partition(b"\n")
    before, _, last = own.rpartition(b"pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(")
    _, _, expected = last.partition(b";\n")
    if not before or not routers or routers != expected:
        return f"{name} differs from the end of the library's file"
    return None


def not_refused(tool, python, plugin, folder):
    """What a tool said of a parameter that is none, in place of what the plugin says of it."""
    try:
        tool(python, plugin, "plain", folder, ["build_client=maybe"])
    except RuntimeError as error:
        said = "parameter build_client=maybe; expected true or false" in str(error)
        return None if said else str(error)
    return "it was taken"


def fresh(*path):
    folder = os.path.join(*path)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plugin", required=True, metavar="PATH")
    parser.add_argument("--generate", required=True, metavar="PATH")
    parser.add_argument("--target-dir", default=os.path.join(ROOT, "target"), metavar="PATH")
    args = parser.parse_args()
    try:
        python = make_environment(os.path.join(args.target_dir, "grpcio-venv"))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"plugins: not run, the packages could not be installed: {error}")
        return 3

    plugin, generate = (os.path.abspath(path) for path in (args.plugin, args.generate))
    out = os.path.join(os.path.abspath(args.target_dir), "plugins")
    passed = True
    names = sorted(name[:-6] for name in os.listdir(PROTOS) if name.endswith(".proto"))
    for name in names:
        library = fresh(out, "library", name)
        call(generate, library, PROTOS, f"{name}.proto", *EXTERN_PATHS.get(name, []))
        options = [f"extern_path={path}" for path in EXTERN_PATHS.get(name, [])]
        for tool in (protoc, buf):
            folder = fresh(out, tool.__name__, name)
            try:
                tool(python, plugin, name, folder, options)
                wrong = difference(written(library), written(folder))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                wrong = str(error)
            check = f"{tool.__name__}-{name}"
            print(f"FAIL {check}: {wrong}" if wrong else f"ok   {check}", flush=True)
            passed = passed and not wrong
    for tool in (protoc, buf):
        check = f"{tool.__name__}-names-what-is-wrong"
        wrong = not_refused(tool, python, plugin, fresh(out, "refused"))
        print(f"FAIL {check}: {wrong}" if wrong else f"ok   {check}", flush=True)
        passed = passed and not wrong
    print(f"plugins: {'ok' if passed else 'FAILED'}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
