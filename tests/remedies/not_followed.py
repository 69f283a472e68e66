# ruff: noqa: E501
"""Messages whose remedy no test follows yet. The list gets shorter and never longer: a new message has a row."""

MOST = 7
NOT_FOLLOWED: dict[str, list[str]] = {
    "selftrain/cli/building.py": [
        "--network {}: the networks with a name give one answer a sample, and these labels are masks or joints; say --network module:name of your own, called with the shape of an input and the number of outputs",
    ],
    "selftrain/cli/compare.py": [
        "compare runs in one process; torchrun is for selftrain train and pretrain",
    ],
    "selftrain/engine/beside.py": [
        "take the last ones: on_alarm='warn'",
    ],
    "selftrain/handlers/selfcheck.py": [
        "Lower the teacher's decay so that it follows sooner, or check how it gets its BatchNorm statistics (buffers='copy' or 'ema'); until then ship the student.",
        "Train longer if the rank is rising (JEPA first collapses and then climbs out); else raise the target encoder's decay, normalize its tokens (norm='layer'), strengthen the regularizer (of views: the variance term or SIGReg), or use masked autoencoding, which cannot collapse.",
    ],
    "selftrain/networks/foundation.py": [
        "{} is code of others; load it with trust=True",
    ],
    "selftrain/portfolio/portfolio.py": [
        "not tried: takes about {} s, more than is left of a budget of {} s; raise budget",
    ],
}
