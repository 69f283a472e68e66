# ruff: noqa: E501
"""Messages whose remedy no test follows yet. The list gets shorter and never longer: a new message has a row."""

MOST = 50
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
    "selftrain/engine/spec.py": [
        "{}; or pass a pile that is encoded: {}",
        "a part of the run in {} cannot be built: {}; build the strategy as it was and {}",
    ],
    "selftrain/engine/start.py": [
        "the features are of another encoder than the one that is {} now; bring it back",
        "{}@{}: give the folder with the file and its {} instead",
        "torchvision has no network {}; if it is one of timm: pip install 'selftrain[timm]'",
        "the network of {} has no encoder; take another run",
    ],
    "selftrain/estimator/automatic.py": [
        "{} holds the run of a network; choose another folder",
    ],
    "selftrain/handlers/selfcheck.py": [
        "Lower the teacher's decay so that it follows sooner, or check how it gets its BatchNorm statistics (buffers='copy' or 'ema'); until then ship the student.",
        "Train longer if the rank is rising (JEPA first collapses and then climbs out); else raise the target encoder's decay, normalize its tokens (norm='layer'), strengthen the regularizer (of views: the variance term or SIGReg), or use masked autoencoding, which cannot collapse.",
    ],
    "selftrain/labels/table.py": [
        "the labels of this run are not in its folder; build its strategy with them to train on",
    ],
    "selftrain/networks/adapters.py": [
        "adapters are for the encoder of a network, and {} has none; build it as Classifier(encoder, classes)",
        "adapters need peft ({}): pip install 'selftrain[peft]'",
        "{} is read without calling a layer and takes form='lora' with dropout=0; set these, or leave it out of the targets",
        "{} has no layers {}; set targets of the adapter to ends of names such as {}",
    ],
    "selftrain/networks/foundation.py": [
        "the tokenizer lies in the model's folder: load it with selftrain.pretrained(folder)",
        "timm has no network {}; see timm.list_models()",
        "{} is code of others; load it with trust=True",
        "transformers has no model of the kind {}; update it, or take another model",
        "{} has a part that is fetched from elsewhere ({}); take another model",
    ],
    "selftrain/networks/hub.py": [
        "the weights of {} are in a form that only timm reads; take another network",
        "the weights in {} do not fit {}: {}; say the architecture that they are of",
        "timm has no weights for {}; see timm.list_pretrained(), or say {}@FILE",
        "the weights of {} are not on this machine{}; allow the download (download=True), or say where they are: {}@FILE",
        "{} has no {}; give the folder of a model of transformers or timm",
        "{} is a model of timm: pip install 'selftrain[timm]'",
        "{} is a model of transformers: pip install 'selftrain[transformers]'",
        "{} is a model of the Hugging Face hub: pip install 'selftrain[transformers]'",
        "the model {} is not on this machine; allow the download (download=True), or give its folder",
        "{} has no {}: convert its weights with transformers, save_pretrained(folder)",
        "{} brings code of its own ({}: auto_map); trust=True runs it",
        "{} lacks weights of its own model, such as {}",
        "{} pools its tokens in a way that is not known here: {}",
    ],
    "selftrain/networks/student.py": [
        "the gradient norm is {} at any scale; lower the learning rate or use bf16",
    ],
    "selftrain/networks/timm.py": [
        "{} lacks {}; masked stages need a vision transformer as timm builds them (two-view stages take any network: see FeatureEncoder)",
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
