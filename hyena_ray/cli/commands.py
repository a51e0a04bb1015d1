"""The command line of every job, made from its settings.

A setting is written down once, as a field with its help: name, type and default give the option.
Values are read as text, and the settings validate them, so that all problems of a command are named
at once. Importing a job imports neither torch nor Ray.
"""

from __future__ import annotations

import importlib.metadata
import logging
import math
import platform
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, NoReturn, Union, get_args, get_origin

import click
from pydantic.fields import FieldInfo

from hyena_ray.cli.log import OPTION, adjust_log, log_file
from hyena_ray.cli.terminal import run_in_terminal
from hyena_ray.errors import (
    InputError,
    JobError,
    Problems,
    nearest_name,
    raise_together,
    unknown_name,
)
from hyena_ray.outcomes import Outcome
from hyena_ray.settings import DO, READ, WHERE, WRITE, Option, Settings
from hyena_ray.storage import S3Path
from hyena_ray.tasks import task_named
from hyena_ray.workflows.workflow import Workflow

logger = logging.getLogger(__name__)

PROGRAM = "hyena-ray"
JOBS = {
    "simulate": "hyena_ray.workflows.simulate",
    "prepare": "hyena_ray.workflows.prepare",
    "train": "hyena_ray.workflows.train",
    "tune": "hyena_ray.workflows.tune",
    "compare": "hyena_ray.workflows.compare",
    "evaluate": "hyena_ray.workflows.evaluate",
    "attribute": "hyena_ray.workflows.attribute",
    "combine": "hyena_ray.workflows.combine",
    "sanity": "hyena_ray.workflows.sanity",
    "predict": "hyena_ray.workflows.predict",
    "variants": "hyena_ray.workflows.variants",
    "embed": "hyena_ray.workflows.embed",
    "pretrain": "hyena_ray.workflows.pretrain",
    "report": "hyena_ray.report.job",
    "verify": "hyena_ray.workflows.verify",
    "threshold": "hyena_ray.workflows.threshold",
    "push": "hyena_ray.workflows.push",
}
"""Every job, in the order of the help, and the module that holds its `WORKFLOW`."""
RESUMABLE = frozenset(
    {"train", "tune", "compare", "attribute", "predict", "variants", "embed", "pretrain"}
)
"""Jobs that have --resume: known before their modules are imported, for the line of a stop."""
GROUPS = (READ, DO, WRITE, WHERE)
VERSIONS = ("hyena-ray", "torch", "ray")
"""Packages whose versions are shown."""
GENERAL = "for every job"
"""Group of the options that every job has."""


class Argument(NamedTuple):
    """A setting as the command line shows it."""

    name: str
    """Name of the field."""
    flag: str
    """Name of the option with its dashes, or the placeholder of a positional value."""
    option: Option
    field: FieldInfo

    @property
    def annotation(self) -> Any:
        """Type of the value, without None."""
        return _without_none(self.field.annotation)

    @property
    def is_flag(self) -> bool:
        """Whether the option takes no value."""
        return self.annotation is bool

    @property
    def metavar(self) -> str:
        """Placeholder of the value in the help."""
        return self.option.metavar or _metavar(self.annotation)

    @property
    def help(self) -> str:
        """Help of the setting, with its default or that it is required."""
        text = " ".join((self.field.description or "").split()).rstrip(".")
        if self.field.is_required():
            return f"{text}; required."
        default = self.option.default or _shown(self.field.default)
        if self.is_flag or self.option.repeated:
            return f"{text}."
        return f"{text}; default: {default}."


class JobCommand(click.Command):
    """The command of a job; unknown options are collected, so that all are refused together."""

    def __init__(
        self, name: str, workflow: Workflow[Any, Any, Any], task: str, program: str = PROGRAM
    ) -> None:
        self.workflow, self.task = workflow, task
        self.settings: type[Settings] = workflow.settings(task)
        # The help lists options with a value before flags.
        listed = _arguments(self.settings, skip_task=bool(task))
        self.arguments = tuple(sorted(listed, key=lambda argument: argument.is_flag))
        own = [line for line in workflow.examples if not task or task in line.split()]
        examples = "\n".join(f"  {program} {line}" for line in own or workflow.examples)
        title = task_named(task).title if task else ""
        super().__init__(
            name,
            params=[*map(_parameter, self.arguments), *_general(workflow)],
            callback=self._run,
            help=f"{workflow.about}\n\nTask: {title}." if title else workflow.about,
            epilog=f"\b\nexamples:\n{examples}",
            short_help=title or workflow.about.strip().splitlines()[0],
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        )

    def _run(self, **given: Any) -> Outcome:
        dry = bool(given.pop("dry_run", False))
        given.pop("json")
        quiet, verbose = bool(given.pop("quiet")), bool(given.pop("verbose"))
        log = given.pop("log_file")
        with Problems() as problems:
            settings = problems.collect(self.parse, given, click.get_current_context().args)
            file = None if log is None else problems.collect(log_file, log)
            if quiet and verbose:
                problems.add(InputError("--quiet", None, "contradicts --verbose", "drop one"))
        assert settings is not None
        adjust_log(quiet=quiet, verbose=verbose, file=file)
        logger.debug("%s", _circumstances(self.name, settings))
        outcome = self.workflow.run(settings, dry_run=dry)
        return outcome if dry else _with_report(outcome)

    def parse(self, given: dict[str, Any], extra: Sequence[str] = ()) -> Any:
        """Read the settings of the job.

        Args:
            given: Texts by name of the field; None stands for what was not given.
            extra: Words that no option takes.

        Raises:
            InputError: Names all problems of the command.
        """
        problems = list(self._unknown(extra))
        by_name = {argument.name: argument for argument in self.arguments}
        values = {
            name: _value(text, by_name[name])
            for name, text in given.items()
            if text is not None and text != ()
        }
        if self.task:
            values["task"] = self.task

        def label(key: str) -> str:
            name = key.partition(".")[0]
            return by_name[name].flag if name in by_name else "command line"

        try:
            settings = self.settings.parse(values, "command line", label=label)
        except InputError as error:
            problems.append(error)
        raise_together(problems)
        return settings

    def _unknown(self, extra: Sequence[str]) -> Iterator[InputError]:
        known = [name for parameter in self.params for name in parameter.opts if name[:1] == "-"]
        value_of_unknown = False
        for word in extra:
            if word.startswith("-") and len(word) > 1:
                name = word.partition("=")[0]
                nearest = nearest_name(name, known)
                guess = f", did you mean {nearest}?" if nearest else ""
                command = click.get_current_context().command_path
                yield InputError(name, None, f"unknown option{guess}", f"see {command} --help")
                value_of_unknown = "=" not in word
            elif not value_of_unknown:
                yield InputError(
                    "command line", word, "belongs to no option", "put its option before it"
                )
                value_of_unknown = False
            else:
                value_of_unknown = False

    def format_options(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in groups.

        Args:
            context: Context of the command.
            formatter: Where the help is written.
        """
        groups: dict[str, list[tuple[str, str]]] = {group: [] for group in (*GROUPS, GENERAL)}
        titles = {argument.name: argument.option.group for argument in self.arguments}
        # What click shows of a value without an option differs from version to version.
        positional = {
            argument.name: (argument.metavar, argument.help)
            for argument in self.arguments
            if argument.option.positional
        }
        for parameter in self.get_params(context):
            name = str(parameter.name)
            record = positional.get(name) or parameter.get_help_record(context)
            if record is not None:
                groups[titles.get(name, GENERAL)].append(record)
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class NamedGroup(click.Group):
    """A group whose unknown commands are refused with the nearest right name."""

    what: str
    """What a command of the group is."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the words name.

        Args:
            ctx: Context of the group.
            args: Words that are left.

        Raises:
            InputError: There is no such command.
        """
        names = self.list_commands(ctx)
        if args and args[0] not in names:
            raise unknown_name(ctx.command_path, args[0], self.what, names)
        return super().resolve_command(ctx, args)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the words of the group.

        Args:
            ctx: Context of the group.
            args: Words that are left.

        Raises:
            InputError: No command is named.
        """
        if not args and not ctx.resilient_parsing:
            names = ", ".join(self.list_commands(ctx))
            raise InputError(
                ctx.command_path, None, f"the {self.what} is missing", f"give one of {names}"
            )
        return super().parse_args(ctx, args)


class TaskGroup(NamedGroup):
    """A job that has a command for every task."""

    what = "task"

    def __init__(self, name: str, workflow: Workflow[Any, Any, Any]) -> None:
        self.workflow = workflow
        super().__init__(
            name,
            help=workflow.about,
            short_help=workflow.about.strip().splitlines()[0],
            params=[_version()],
            subcommand_metavar="TASK ...",
        )

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of the tasks.

        Args:
            context: Context of the command.
        """
        return list(self.workflow.tasks)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return the command of a task.

        Args:
            context: Context of the command.
            name: Name of the task.
        """
        if name not in self.workflow.tasks:
            return None
        return JobCommand(name, self.workflow, name)


class HyenaRay(NamedGroup):
    """The command `hyena-ray`, whose jobs are imported when they are asked for."""

    what = "job"

    def list_commands(self, context: click.Context) -> list[str]:
        """Return the names of the jobs.

        Args:
            context: Context of the command.
        """
        return list(JOBS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """Return the command of a job.

        Args:
            context: Context of the command.
            name: Name of the job.
        """
        if name not in JOBS:
            return None
        return command_of(import_module(JOBS[name]).WORKFLOW)


def command_of(workflow: Workflow[Any, Any, Any], program: str = PROGRAM) -> click.Command:
    """Make the command of a job.

    Args:
        workflow: The job.
        program: Beginning of every example in the help of a job that has no tasks.
    """
    if workflow.tasks:
        return TaskGroup(workflow.name, workflow)
    return JobCommand(workflow.name, workflow, "", program)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command line, and leave with its exit code.

    Args:
        arguments: Words after the name of the program; by default those of the process.

    Raises:
        SystemExit: See `run_in_terminal`.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words[0] if words[:1] and words[0] in JOBS else PROGRAM
    run_in_terminal(
        name,
        lambda: run(words),
        as_json="--json" in words,
        resumable=name in RESUMABLE and "--dry-run" not in words,
    )


def run(arguments: Sequence[str], command: click.Command | None = None) -> Outcome | None:
    """Run a command line, and return what it found.

    Args:
        arguments: Words after the name of the program.
        command: Command of a job that is none of `JOBS`; by default `hyena-ray`.

    Returns:
        What the job found, or None where only help or versions were printed.

    Raises:
        InputError: The command line or the inputs cannot be used; nothing was written.
        JobError: The job cannot continue; what was finished is kept.
        KeyboardInterrupt: SIGINT has arrived.

    Example:
        >>> run(["train", "--dta", "prepared", "--out", "run"])
        Traceback (most recent call last):
            ...
        hyena_ray.errors.CombinedInputError: ...
    """
    program = command or hyena_ray_command()
    try:
        outcome = program.main(list(arguments), prog_name=program.name, standalone_mode=False)
    except click.Abort:  # what click makes of Ctrl-C; the terminal gives it its exit code
        raise KeyboardInterrupt from None
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = program.name if context is None else context.command_path
        problem = error.format_message().rstrip(".")
        raise InputError("command line", None, problem, f"see {path} --help") from None
    return outcome if isinstance(outcome, Outcome) else None


def hyena_ray_command() -> click.Group:
    """Return the command `hyena-ray`, with all jobs."""
    return HyenaRay(
        PROGRAM,
        help="Find non-B DNA with HyenaDNA on a Ray cluster, and the motifs the model relies on.",
        params=[_version()],
        subcommand_metavar="JOB ...",
        epilog=f"{PROGRAM} JOB --help explains a job, with examples.",
    )


def _with_report(outcome: Outcome) -> Outcome:
    """Write a page about the run that a job has left."""
    if outcome.folder is None:
        return outcome
    # Draws, and a job that is refused should say so at once.
    from hyena_ray.report.write import write_report

    try:
        report = write_report(outcome.folder)
    except InputError as error:
        raise JobError(f"no report could be made, all else is complete: {error}") from error
    return outcome._replace(written={**outcome.written, "report": report})


def _arguments(settings: type[Settings], *, skip_task: bool) -> Iterator[Argument]:
    for name, field in settings.model_fields.items():
        if skip_task and name == "task":
            continue
        own = next((item for item in field.metadata if isinstance(item, Option)), None)
        option = own or Option(group=READ if _is_location(field.annotation) else DO)
        flag = f"--{option.flag or name.replace('_', '-')}"
        if option.positional:
            flag = option.metavar
        yield Argument(name, flag, option, field)


def _parameter(argument: Argument) -> click.Parameter:
    if argument.option.positional:
        return click.Argument(
            [argument.name], metavar=argument.metavar, required=False, type=click.UNPROCESSED
        )
    options: dict[str, Any] = {"help": argument.help, "default": None}
    if argument.is_flag:
        options |= {"is_flag": True, "flag_value": True}
    else:
        options |= {"metavar": argument.metavar, "type": _completed(argument.annotation)}
    if argument.option.repeated:
        options |= {"multiple": True, "default": ()}
    return click.Option([argument.flag, argument.name], **options)


def _completed(annotation: Any) -> click.ParamType[Any]:
    """Return a type that leaves text as it is, and that a shell can complete."""
    if _is_location(annotation) or getattr(annotation, "__name__", "") == "Path":
        return _PathText()
    if get_origin(annotation) is Literal:
        return _ChoiceText(list(map(str, get_args(annotation))))
    return click.UNPROCESSED


class _PathText(click.ParamType[Any]):
    """Text that a shell completes to a path."""

    name = "path"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        return [click.shell_completion.CompletionItem(incomplete, type="file")]


class _ChoiceText(click.ParamType[Any]):
    """Text that a shell completes to one of several words; the settings refuse others."""

    name = "choice"

    def __init__(self, choices: list[str]) -> None:
        self.choices = choices

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        words = [choice for choice in self.choices if choice.startswith(incomplete)]
        return [click.shell_completion.CompletionItem(word) for word in words]


def _general(workflow: Workflow[Any, Any, Any]) -> list[click.Parameter]:
    """Return the options that every job has."""
    found = f" ({workflow.found})" if workflow.found else ""
    options: list[click.Parameter] = []
    if workflow.dry_run is not None:
        options.append(
            click.Option(
                ["--dry-run"],
                is_flag=True,
                help="Check all inputs, print the plan with an estimate of its time, and write "
                "nothing.",
            )
        )
    options.append(
        click.Option(
            ["--json"],
            is_flag=True,
            help="Print one JSON object, and nothing else, to stdout: job, found"
            f"{found}, written (name and path of every output), simulated (null where no data is "
            "read), seconds; for an error: job, errors.",
        )
    )
    options += [
        click.Option(
            ["--quiet", "-q"],
            is_flag=True,
            help="Print nothing but the result and errors.",
        ),
        click.Option(
            ["--verbose", "-v"],
            is_flag=True,
            help="Log more: settings, versions, and where in the program an error comes from.",
        ),
        click.Option(
            [OPTION],
            metavar="FILE",
            type=_PathText(),
            help="Write the log to a file as well; a resumed run appends to it.",
        ),
    ]
    return [*options, _version()]


def _circumstances(name: str | None, settings: Settings) -> str:
    """Return what a report of a fault needs: job, settings that were given, versions, machine."""
    given = {key: getattr(settings, key) for key in sorted(settings.model_fields_set)}
    told = " ".join(f"{key}={value}" for key, value in given.items())
    versions = " ".join(f"{part} {importlib.metadata.version(part)}" for part in VERSIONS)
    machine = f"python {platform.python_version()} on {platform.platform()}"
    return f"{name}: {told}; {versions}, {machine}"


def _version() -> click.Option:
    """Return the option that prints versions, and imports nothing that it names."""

    def show(context: click.Context, parameter: click.Parameter, asked: bool) -> None:
        if not asked or context.resilient_parsing:
            return
        own, *libraries = VERSIONS
        click.echo(f"{own} {importlib.metadata.version(own)}")
        click.echo(f"python {platform.python_version()}")
        for name in libraries:
            click.echo(f"{name} {importlib.metadata.version(name)}")
        context.exit()

    return click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=show,
        help="Print the versions of hyena-ray, Python, torch and Ray.",
    )


def _value(text: Any, argument: Argument) -> Any:
    """Read the text of one option as far as the type of its setting says how."""
    if argument.is_flag:
        return bool(text)
    if argument.option.repeated:
        return list(text)
    return _read(text, argument.annotation)


def _read(text: str, annotation: Any) -> Any:
    if get_origin(annotation) is tuple:
        item = get_args(annotation)[0]
        return [_read(part, item) for part in text.split(",")]
    for kind in (int, float):
        if annotation in (int, float):
            try:
                number = kind(text)
            except ValueError:
                continue
            # NaN and infinity stay text, which settings refuse; JSON has no word for them.
            return number if math.isfinite(number) else text
    return text


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
        annotation = kinds[0] if len(kinds) == 1 else annotation
    # An optional field keeps the validators of its type in the annotation.
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _is_location(annotation: Any) -> bool:
    return S3Path in get_args(annotation) or annotation is S3Path


def _metavar(annotation: Any) -> str:
    names: dict[Any, str] = {int: "N", float: "X", str: "TEXT"}
    if get_origin(annotation) is Literal:
        return "|".join(map(str, get_args(annotation)))
    if get_origin(annotation) is tuple:
        item = _metavar(get_args(annotation)[0])
        return f"{item},{item}"
    if _is_location(annotation):
        return "FILE"
    return names.get(annotation, "PATH")


def _shown(value: Any) -> str:
    if value is None or value == ():
        return "none"
    if isinstance(value, tuple | list):
        return ",".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
