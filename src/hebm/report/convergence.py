"""Whether the chains converge, in words and as a table: the suite ``mcmc``."""

import math

from hebm.report.history import as_float
from hebm.report.run_files import Json, RunFiles, dig
from hebm.report.tables import ResultTable, Row, origin_line
from hebm.report.wording import number_text

__all__ = ["convergence_table", "convergence_verdict"]


def convergence_verdict(results: Json) -> tuple[bool, str]:
    """Whether to warn, and the sentence; both empty where there is nothing to say."""
    if results.get("has_chain") is False:
        return False, str(results.get("remark", ""))
    steps = number_text(results.get("n_steps"))
    if results.get("is_converged") is True:
        return False, f"Chains of {steps} steps have converged: longer ones say the same."
    if results.get("is_converged") is None:
        return False, ""
    reasons = results.get("against")
    because = "; ".join(str(reason) for reason in reasons) if isinstance(reasons, list) else "not recorded"
    return True, (
        f"Training relies on chains that have not converged: {because}. The number of steps belongs to the model: "
        f"its samples are what {steps} steps from the base give, and other lengths give other samples."
    )


def convergence_table(run: RunFiles) -> ResultTable:
    """What more steps buy, long chains, and where chains end."""
    results = run.results("mcmc")
    k, long = (number_text(value) for value in (results.get("n_steps"), dig(results, "long_chain", "steps")))
    rows = [
        *_bias_rows(results),
        *(
            row
            for start in ("noise", "posterior", "pool")
            for row in _long_rows(dig(results, "long_chain", "starts", start), start, k, long)
        ),
        *_sampler_rows(results),
    ]
    return ResultTable("mcmc", rows, False, origin_line(run, "mcmc"))


def _bias_rows(results: Json) -> list[Row]:
    bias = results.get("stationary_bias")
    if not isinstance(bias, dict):
        return []
    reference, provisional = bias.get("reference"), bias.get("provisional")
    fields = bias if reference else provisional
    if not isinstance(fields, dict):
        return [Row("Energy bias of K steps", "unknown", meaning=str(bias.get("remark", "")))]
    name = reference or fields.get("sampler")
    doubt = "" if reference else " These chains have not converged themselves, so this is provisional."
    meaning = (
        f"Mean energy after K steps less that of long {name} chains, in the long chains' standard deviations."
    )
    return [
        Row("Energy bias of K steps, sd", number_text(fields.get("energy_sd")), meaning=meaning + doubt),
        Row("The same in nats", number_text(fields.get("energy_nats"))),
        Row("Fréchet distance at K less that of long chains", number_text(fields.get("fd"))),
    ]


def _long_rows(fields: object, start: str, k: str, long: str) -> list[Row]:
    if not isinstance(fields, dict):
        return []
    words = {"noise": "base draws", "posterior": "posterior samples", "pool": "persistent chains"}[start]

    def both(key: str) -> str:
        return " → ".join(number_text(_number(fields.get(f"{key}_at_{at}"))) for at in ("k", "long"))

    stays = "Stays" if fields.get("stays_on_the_data") else "Does not stay"
    meaning = f"After {k} and after {long} of the run's own steps. {stays} where the data are."
    return [
        Row(f"Fréchet distance, chains from {words}", both("fd"), meaning=meaning),
        Row(f"Energy, chains from {words}", both("energy")),
        Row(f"Precision, chains from {words}", both("precision")),
        Row(f"Recall, chains from {words}", both("recall")),
    ]


def _sampler_rows(results: Json) -> list[Row]:
    samplers = results.get("samplers")
    rows = []
    for name, sampler in samplers.items() if isinstance(samplers, dict) else ():
        if dig(sampler, "is_exact") is not True:
            continue
        long_run = dig(results, "long_runs", name)
        value = number_text(_number(dig(long_run, "rhat"))) if long_run else "diverged"
        rows.append(
            Row(
                f"R-hat of {name}",
                value,
                meaning="Greatest over the energy and all latents, chains of all starts together. Near 1: they agree.",
            )
        )
    return rows


def _number(value: object) -> float | None:
    number = as_float(value)
    return number if math.isfinite(number) else None
