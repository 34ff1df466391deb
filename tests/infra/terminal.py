"""A shell in a terminal, as a person has it, and whether it prints what a document says."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
MARKER = re.compile(r"<<ended (\d+)>>")
CONSOLE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
PASSING = re.compile(r"(?m)^ +(?:queued|running)\n")
"""States that a run may pass through between two looks at it."""
VARIES = re.compile(r"\b[0-9a-f]{4}\.\.\.|\.\.\.|\bs_[0-9a-z]{6}\b|\b(?=[0-9a-f]*\d)[0-9a-f]{16}\b|user/\w+|\d+|\s+")


@dataclass(frozen=True)
class Step:
    """A command of a document, and what it prints there."""

    command: str
    printed: str

    @property
    def fails(self) -> bool:
        """Whether the document shows that the command ends with what is wrong."""
        problems = re.findall(r"(?m)^(deploy|destroy|smoke|package|dap_key|prepare_database): ", self.printed)
        return bool(problems)


def blocks(document: str) -> list[list[Step]]:
    """The steps in each block of a document that shows a terminal."""
    found = []
    for block in CONSOLE.findall(document):
        parts = re.split(r"(?m)^\$ ", block)[1:]
        found.append(
            [Step(command, printed.strip()) for command, _, printed in (part.partition("\n") for part in parts)]
        )
    return found


def differs(printed: str, document: str) -> str:
    """What of a document was not printed, from where on; empty if all was.

    `...` stands for anything; numbers, digests, runs, the caller's name, the states on the way and the breaks between
    lines vary.
    """
    printed, document = PASSING.sub("", printed), PASSING.sub("", document)
    if re.fullmatch(pattern(document), printed, re.DOTALL):
        return ""
    lines = document.splitlines()
    said = ""
    for number in range(len(lines)):
        said = "\n".join(lines[: number + 1])
        if not re.match(pattern(said), printed, re.DOTALL):
            break
    return f"{said.splitlines()[-1]!r} is not what is printed"


def pattern(document: str) -> str:
    """A regular expression for what a document shows."""

    def varies(text: str) -> str:
        if text.endswith("..."):
            return ".*?"
        if text.isspace():
            return r"\s+"
        if text.startswith("s_"):
            return r"s_[0-9a-z]{6,8}"
        if text.startswith("user/"):
            return r"user/[\w.-]+"
        return r"\d+" if text.isdecimal() else "[0-9a-f]{16}"

    parts, end = "", 0
    for found in VARIES.finditer(document.strip()):
        parts += re.escape(document.strip()[end : found.start()]) + varies(found[0])
        end = found.end()
    parts += re.escape(document.strip()[end:])
    # A line of dots may stand for nothing.
    return r"\s*" + parts.replace(r"\s+.*?", r"\s*.*?").replace(r".*?\s+", r".*?\s*") + r"\s*"


class Terminal:
    """A running bash.

    :param answers: what is typed when a prompt ends the output.
    """

    def __init__(self, folder: Path, environment: dict[str, str], answers: dict[str, str], timeout_s: float) -> None:
        self._answers, self._timeout_s = answers, timeout_s
        self.when: dict[str, Callable[[], None]] = {}
        """What is done as soon as a text is shown, once."""
        process, self._file = pty.fork()
        if process == 0:
            os.chdir(folder)
            bash = ["bash", "--norc", "--noprofile", "--noediting", "-i"]
            os.execvpe("bash", bash, environment | {"PS1": "<<ended $?>>", "TERM": "xterm"})
        self._process = process
        # Wide, so that nothing is wrapped.
        fcntl.ioctl(self._file, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 4000, 0, 0))
        self._until_prompt()

    def run(self, command: str, typed: str = "") -> tuple[int, str]:
        """Run a command; returns its status and what it printed.

        :param typed: lines that follow it without a prompt.
        """
        os.write(self._file, f"{command}\n{typed}".encode())
        status, output = self._until_prompt()
        # The terminal shows what was typed, too.
        return status, output.removeprefix(command).strip()

    def close(self) -> None:
        """End the shell."""
        os.close(self._file)
        os.waitpid(self._process, 0)

    def _until_prompt(self) -> tuple[int, str]:
        output, answered, deadline = "", 0, time.monotonic() + self._timeout_s
        while True:
            assert time.monotonic() < deadline, f"no end: {output[-3000:]}"
            if not select.select([self._file], [], [], 1)[0]:
                continue
            try:
                output += os.read(self._file, 65536).decode(errors="replace")
            except OSError:  # EIO: nobody is at the other end
                raise AssertionError(f"the shell has ended: {output[-3000:]}") from None
            plain = ESCAPES.sub("", output).replace("\r", "")
            for text in [text for text in self.when if text in plain]:
                self.when.pop(text)()
            if ended := MARKER.search(plain):
                return int(ended[1]), plain[: ended.start()]
            for prompt, answer in self._answers.items():
                if plain.endswith(prompt) and len(plain) > answered:
                    answered = len(plain) + len(answer)
                    os.write(self._file, f"{answer}\n".encode())
