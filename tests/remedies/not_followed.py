# ruff: noqa: E501
"""Messages whose remedy no test follows yet. The list gets shorter and never longer: a new message has a row."""

MOST = 21
NOT_FOLLOWED: dict[str, list[str]] = {
    "selftrain/cli/building.py": [
        "--network {}: the networks with a name give one answer a sample, and these labels are masks or joints; say --network module:name of your own, called with the shape of an input and the number of outputs",
    ],
    "selftrain/cli/compare.py": [
        "compare runs in one process; torchrun is for selftrain train and pretrain",
    ],
    "selftrain/engine/beside.py": [
        "training the baseline changed {} itself: a function among its attributes holds on to it; make it a method, or pass baseline=False (the checkpoint of the run is as it was)",
        "take the last ones: on_alarm='warn'",
    ],
    "selftrain/estimator/automatic.py": [
        "{} holds the run of a network; choose another folder",
    ],
    "selftrain/handlers/selfcheck.py": [
        "Lower the teacher's decay so that it follows sooner, or check how it gets its BatchNorm statistics (buffers='copy' or 'ema'); until then ship the student.",
        "Train longer if the rank is rising (JEPA first collapses and then climbs out); else raise the target encoder's decay, normalize its tokens (norm='layer'), strengthen the regularizer (of views: the variance term or SIGReg), or use masked autoencoding, which cannot collapse.",
    ],
    "selftrain/networks/foundation.py": [
        "{} is code of others; load it with trust=True",
    ],
    "selftrain/networks/student.py": [
        "the gradient norm is {} at any scale; lower the learning rate or use bf16",
    ],
    "selftrain/pipeline/report.py": [
        "{} cannot be read: {}; delete it, and the report is without it",
    ],
    "selftrain/pipeline/stages.py": [
        "stage {} has no figure {} on validation; use which='last'",
    ],
    "selftrain/portfolio/portfolio.py": [
        "not tried: takes about {} s, more than is left of a budget of {} s; raise budget",
    ],
    "data/base/labels.py": [
        ", or say {}",
        "{}: {} is {}, a measured number and no class; name the column of the classes, or turn it into classes",
    ],
    "data/checks/image_folders.py": [
        "{} of {} stored as {}, not {}; read as {}",
        "{} of another format than the ending says; read all the same",
    ],
    "data/loading/workers.py": [
        "allow more with BatchPlan(timeout=...), or ",
    ],
    "data/readers/datasets.py": [
        "{} is not in {} and cannot be downloaded ({}); pass root=FOLDER",
    ],
    "data/readers/decoding.py": [
        "memory is too short to decode image {}; read with fewer workers, or free memory",
        "{} pictures have 16 bits a color, of which the upper 8 are read, and use so few of them that {} of 256 levels of a color remain; save them with 8 bits, brightened first",
    ],
    "data/readers/scanning.py": [
        "; repair or remove it",
    ],
}
