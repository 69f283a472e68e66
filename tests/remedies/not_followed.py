# ruff: noqa: E501
"""Messages whose remedy no test follows yet. The list gets shorter and never longer: a new message has a row."""

MOST = 226
NOT_FOLLOWED: dict[str, list[str]] = {
    "selftrain/_compat.py": [
        "ranks of fit will go in 1.0; call fit inside `with Ranks(...):`",
        "{} is the old name of what {} says; give {} alone",
        "{} of fit will go in 1.0; pass {}",
    ],
    "selftrain/cli/building.py": [
        "--task {}: the labels of {} are for {}; leave --task out",
        "--init_from {} brings its own network; leave --network out",
        "--network {}: the networks with a name give one answer a sample, and these labels are masks or joints; say --network module:name of your own, called with the shape of an input and the number of outputs",
        "--frozen is for an encoder that is pretrained: say --init_from {}NAME",
    ],
    "selftrain/cli/check_data.py": [
        "say which data: selftrain check-data DATA [options]",
        "--labels {}: the check reads one CSV file with the columns path and label",
    ],
    "selftrain/cli/common.py": [
        "--resume needs the run: selftrain {} --resume --out RUN",
        "{} was started with other settings ({}); leave them out, or say --out",
    ],
    "selftrain/cli/compare.py": [
        "--strategies {}: a comparison names its runs; known are {}",
        "{} has too few labels to hold back a quarter of them; say --data.validation or label more",
        "compare runs in one process; torchrun is for selftrain train and pretrain",
    ],
    "selftrain/cli/evaluate_run.py": [
        "{} has no labels that were held out; say --data with labeled data, or --part labeled",
    ],
    "selftrain/cli/folder.py": [
        "{} is a file; say --out with the name of a folder",
        "{} holds files and no run; say --out with a new folder (nothing was changed)",
        "{} was not started by this command line: go on with it in Python",
    ],
    "selftrain/cli/label.py": [
        "threshold is {}; a confidence is in [0, 1]",
        "{} is there already; say --overwrite, or --out with another file",
        "the run's data have no unlabeled samples; say which to label: selftrain label RUN DATA",
    ],
    "selftrain/cli/naming.py": [
        "{} is of no known kind; pass a folder of images, or a file that ends in {}",
        "there is no file or folder {}; correct the path, or name one of {}",
        "cannot load {}: {}; write module:name",
    ],
    "selftrain/cli/opened.py": [
        "{} has no best weights, as it had no validation set; say --which last",
        "{} is a run of pretraining, which knows no classes; train from it first",
        "{} predicts with {}, several answers a sample, and {} has room for one; ask it in Python: selftrain.open_run({}).strategy.predict(x)",
        "say which run, first of all: selftrain {} RUN [options]",
    ],
    "selftrain/cli/parser.py": [
        "{} names code that is not of selftrain: {}; say --trust to import it",
        "the config file {} holds a {}; write one 'name: value' a line",
        "TOML needs Python 3.11 or later; write the config file as YAML or JSON",
        "{} needs a {}",
        "{} needs a name, such as {}",
    ],
    "selftrain/cli/piles.py": [
        "no data; say --data PATH, or a named set such as --data digits",
        "{} lists labels by path: that is for one folder of images, and {}",
        "--labels {} is no file; to use only {} labels, say --data.labels {}",
        "{} has the columns {}; labels need path and label, reviews id and verdict",
    ],
    "selftrain/cli/starts.py": [
        "there is no row of {}: it adapts trained weights; say --starts or --init_from with some",
        "--starts has all that is started from; leave --init_from out",
        "--starts {}: give each once",
    ],
    "selftrain/engine/beside.py": [
        "training the baseline changed {} itself: a function among its attributes holds on to it; make it a method, or pass baseline=False (the checkpoint of the run is as it was)",
        "take the last ones: on_alarm='warn'",
    ],
    "selftrain/engine/loop.py": [
        "; to go on as it is: {}, {}",
        "inputs are normalized by mean {} and std {}, and {} has learned with {} and {}; train on pile.normalized_as(encoder)",
    ],
    "selftrain/engine/spec.py": [
        "start it again with {}",
        "{} holds a run of selftrain 0.1, which this version cannot build again; use that version, or start from the weights of a finished run: learner(init_from={})",
        "{} has format {}, not {}; use the version that wrote it",
        "build it as it was and pass it: strategy=...",
        "the pile has {} unlabeled samples and the run in {} other ones; pass the pile that the run was on",
        "pass it: st.open_run({}, {}=...)",
        "the network of the run in {} is not {}: it was changed after it was built, or its class is another one by now; build it as it was and {}",
        "{}; or pass a pile that is encoded: {}",
        "a part of the run in {} cannot be built: {}; build the strategy as it was and {}",
    ],
    "selftrain/engine/start.py": [
        "{} has weights alone and does not say its network: write ARCHITECTURE@{}",
        "the features are of another encoder than the one that is {} now; bring it back",
        "{}@{}: give the folder with the file and its {} instead",
        "torchvision has no network {}; if it is one of timm: pip install 'selftrain[timm]'",
        "the network of {} has no encoder; take another run",
    ],
    "selftrain/engine/state.py": [
        "{} is gone: it was removed or renamed during the run; start the run anew",
    ],
    "selftrain/engine/watchers.py": [
        "{} is no handler; derive its class from selftrain.handlers.Handler",
    ],
    "selftrain/estimator/automatic.py": [
        "{} holds the run of a network; choose another folder",
    ],
    "selftrain/estimator/shipped.py": [
        "{} does not say which networks it ships; derive it from SingleStudent or SeveralStudents",
    ],
    "selftrain/evaluation/probing/arrays.py": [
        "{} are not finite; the encoder has diverged: lower its learning rate",
    ],
    "selftrain/evaluation/probing/compare.py": [
        "the pile has no {} samples; a report needs them",
    ],
    "selftrain/evaluation/probing/encoding.py": [
        "there is no sample to encode; check the part of the pile",
    ],
    "selftrain/evaluation/probing/scratch.py": [
        "steps is {}; the control must learn for at least 1 (hand in supervised={} for none)",
        "the pile has no {} samples; the control needs them",
    ],
    "selftrain/evaluation/quality.py": [
        "no held-out labels; hold some back ({})",
    ],
    "selftrain/exporting/formats.py": [
        "ONNX needs {}: pip install 'selftrain[onnx]'",
    ],
    "selftrain/exporting/write.py": [
        "this network cannot be written as {}: {}; choose another format",
        "{} do more to an input than subtract a mean and divide by a deviation, which an exported network cannot repeat; export plain weights with run.export() instead",
    ],
    "selftrain/graph/agreement.py": [
        "GraphAgreement needs candidates with X and labels; ask it through SelfTraining",
    ],
    "selftrain/graph/neighbors.py": [
        "approximate=True needs pynndescent; {}, or set approximate=False",
        "the neighbors of {} rows are searched exactly, which takes long; {} for a fast search, or set approximate=False if this is meant",
    ],
    "selftrain/handlers/baseline.py": [
        "{} cannot be copied for the baseline ({}); pass baseline=False",
    ],
    "selftrain/handlers/nonfinite.py": [
        "{} steps in a row up to step {} were left out, {} in all: {}. The weights are those before them; lower the learning rate, look at the data, or allow more: NonFiniteGuard(limit=...)",
    ],
    "selftrain/handlers/selfcheck.py": [
        "Lower the teacher's decay so that it follows sooner, or check how it gets its BatchNorm statistics (buffers='copy' or 'ema'); until then ship the student.",
        "Train longer if the rank is rising (JEPA first collapses and then climbs out); else raise the target encoder's decay, normalize its tokens (norm='layer'), strengthen the regularizer (of views: the variance term or SIGReg), or use masked autoencoding, which cannot collapse.",
    ],
    "selftrain/handlers/snapshots.py": [
        "name the file of weights itself, which lies beside it",
    ],
    "selftrain/labels/columns.py": [
        "{}: label {} is called {}; at most {} classes",
    ],
    "selftrain/labels/page/judging.py": [
        "there are no held-out labels; hold some back ({})",
    ],
    "selftrain/labels/page/source.py": [
        "the review page shows one class a sample, not {}; review the ledger's CSV file instead",
    ],
    "selftrain/labels/refine.py": [
        "the {} of row {} is {}; the teacher's predictions are unusable",
    ],
    "selftrain/labels/review.py": [
        "{}: unknown id {}; {} (spreadsheets change ids such as 007: import them as text)",
    ],
    "selftrain/labels/table.py": [
        "the run was started with other pseudo-labels (SHA-256 {}, now {}); store a table with save() and read it with PseudoLabelTable.load() to continue",
        "the labels of this run are not in its folder; build its strategy with them to train on",
    ],
    "selftrain/labels/teacher_pass.py": [
        "the pile shows {} samples to label and names {}; its parts must have the same rows",
    ],
    "selftrain/metrics/features.py": [
        "features are not finite; the encoder has diverged: lower its learning rate",
    ],
    "selftrain/networks/adapters.py": [
        "adapters are for the encoder of a network, and {} has none; build it as Classifier(encoder, classes)",
        "adapters need peft ({}): pip install 'selftrain[peft]'",
        "{} is read without calling a layer and takes form='lora' with dropout=0; set these, or leave it out of the targets",
        "{} has no layers {}; set targets of the adapter to ends of names such as {}",
    ],
    "selftrain/networks/fitting.py": [
        "x holds complex numbers; pass x.real and x.imag as the columns or channels of training",
        'x holds pictures in whole numbers, and the network has learned from what views make of them; pass run.views("plain", x, torch.arange(len(x)), 0).x',
        "x, a {}, is no array of numbers: {}; pass rows of one shape",
        "x, a {} ({}), holds no rows of numbers; pass an array (B, ...)",
        "x holds NaN or infinite values; fill them in as for training, or drop their rows",
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
        "the weights in {} do not fit {}, such as {}; say the architecture that they are of",
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
    "selftrain/networks/outputs.py": [
        "the network gives {} where logits are needed; {}",
    ],
    "selftrain/networks/student.py": [
        "the learning rate is {} at {} of the stage; look at the schedule",
        "{} cannot go on with its state in the checkpoint: {}; take the checkpoint of another copy of the folder, or start from the weights: init_from",
        "the gradient norm is {} at any scale; lower the learning rate or use bf16",
        "restore is {}; choose 'all' or 'parameters'",
        "label mode is {}; choose one of {}",
        "the gradient norm is {}; lower the learning rate or set max_grad_norm",
        "the loss is {}; lower the learning rate or set max_grad_norm",
    ],
    "selftrain/networks/timm.py": [
        "{} lacks {}; masked stages need a vision transformer as timm builds them (two-view stages take any network: see FeatureEncoder)",
        "{} gives {} for 2 samples; it must give features (2, width)",
    ],
    "selftrain/networks/tokenizers.py": [
        "patch is {}; it must be at least 1",
        "column {} holds {}, not a code from 0 to {}; declare it in TableViews(categorical=...) so that it is not standardized, or correct `categories`",
    ],
    "selftrain/pipeline/folder.py": [
        "begin the pipeline in another folder",
    ],
    "selftrain/pipeline/labeling.py": [
        "delete {}, and the labels are made again",
    ],
    "selftrain/pipeline/presets.py": [
        "restart is {}; choose 'pretrained' or 'scratch'",
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
    "selftrain/pretrain/maskers.py": [
        "{} is {}; it is a probability, in [0, 1]",
        "places are {}; a batch of {} on the grid {} needs ({}, {}, dims)",
    ],
    "selftrain/runtime/distributed/collectives.py": [
        "{} is {} on rank {} and {} on rank 0; all must run the same program on the same data: draw splits from a seed, and give them the same arguments",
    ],
    "selftrain/runtime/distributed/group.py": [
        "batchnorm is {}; choose 'joint' or 'own'",
        "timeout is {} seconds; it must be above 0",
    ],
    "selftrain/runtime/finite.py": [
        "the output of a network is not finite; look for such values in the inputs and in the teacher",
        "the step left numbers that are not finite in {}{}; lower the learning rate, look at the schedule, or keep weights and statistics in single precision",
    ],
    "selftrain/storage/checkpoint.py": [
        "{} is not on the disk as it was written; check the disk",
        "{} holds no checkpoint; start anew with {}",
        "finish the run with version 0.1 of selftrain, or begin anew with {}",
        "it is of a newer version: update selftrain",
        "restore the file from a copy of the folder",
    ],
    "selftrain/storage/lock.py": [
        "{} is in use by another run ({}); wait for it or take another folder",
    ],
    "selftrain/storage/run_dir.py": [
        "{} holds no run to resume; start it without resume",
        "start anew in another folder",
        "the run in {} was started by selftrain 0.1, whose steps are not these; finish it there, or start from its weights: learner(init_from={})",
    ],
    "selftrain/storage/tables.py": [
        "{}: {} is {}, not {} from {} to {}; correct it",
        "{} is no valid text, which Parquet needs; write CSV instead",
        "{} is not in UTF-8 ({}); save it as CSV in UTF-8",
        "cannot read {}: {}; repair the file or write it anew",
        "the notes in {} cannot be read: {}; write it anew",
        "{}, line {}: {} cells under {} columns; put text that holds the delimiter in quotes",
        "{} is empty; it needs the columns {}",
        "{} has no column {}, only {}; export it as CSV in UTF-8",
        "{} has the column {} twice; remove one",
        "{} has {} rows in {} bytes, which cannot all differ; write it anew",
        "{} is no whole Parquet file: {}; write it anew",
        "install it with: pip install 'selftrain[table]', or use CSV",
        "{} needs pyarrow; {}",
    ],
    "selftrain/storage/tensors.py": [
        "cannot read {}: {}; write it anew, or say another file",
    ],
    "selftrain/storage/untrusted.py": [
        "it has {} bytes; what a run writes has {} at most",
        "it has {} characters; settings have {} at most",
        "it holds more than {} values; write without anchors (&) what is meant",
    ],
    "selftrain/tasks.py": [
        "the network gives {} a sample, the task needs {}; build it with that many outputs",
    ],
    "selftrain/tensorboard/settings.py": [
        "{} is {}; it must be {} or more",
    ],
    "selftrain/wrapper/rows.py": [
        "pass np.moveaxis(X, 1, -1)",
        "pass np.moveaxis(X, -1, 1)",
        "pass rows like those",
        "X has rows of shape {}, fit was called with {}; {}",
    ],
    "data/base/fitting.py": [
        "all joints of the {} samples lie within one cell; give x and y in cells",
        "{}: multiply by width and height",
        "as (y, x) all would lie inside: swap the two",
        "divide x by {}, y by {}",
        "give x (column) and y (row) in cells",
    ],
    "data/base/labels.py": [
        ", or say {}",
        "{}: {} is {}, a measured number and no class; name the column of the classes, or turn it into classes",
    ],
    "data/base/samples.py": [],
    "data/base/stored.py": [
        "{} holds Python objects, which are never loaded; save plain numbers or text",
        "{} is cut short: {} bytes where {} are needed; copy it again",
    ],
    "data/checks/checking.py": [
        "{} that cannot be used; correct or remove",
    ],
    "data/checks/contents.py": [
        "with several classes; correct the labels, or remove all copies",
        "in training and in validation or test, which makes the result look better; remove one",
        "unlabeled and in validation or test: the pile shows what is tested; remove one",
        "no label for class {}; it can never be predicted: label some of its samples",
        "classes differ in capitals or spaces only; give them one name, or they are learned as two",
    ],
    "data/checks/image_folders.py": [
        "of the CSV leading out of the folder; correct or remove",
        "of the CSV listing a file again; keep one",
        "{} of {} stored as {}, not {}; read as {}",
        "pass {} to bring all to one",
        "{} of another format than the ending says; read all the same",
    ],
    "data/loading/stream.py": [
        "a stream needs labeled or unlabeled samples; both sets are empty",
        "epoch {} has no step {}; its steps are 0 to {}",
        "a batch of {} rows cannot be shared among {} processes; make it larger",
    ],
    "data/loading/workers.py": [
        "allow more with BatchPlan(timeout=...), or ",
    ],
    "data/pile.py": [
        "no sample has a label{}; learn without labels first: see selftrain.pretrain",
        "{}, or learn without labels: see selftrain.pretrain",
    ],
    "data/readers/arrays.py": [
        "{} unpacks to {} GiB and this machine has {}; save the arrays as .npy files, which are read row by row",
        "cannot read array {} of {}: memory is too short; save it as .npy, which is read row by row",
        "{} of {} is no array; save the file with numpy.savez",
    ],
    "data/readers/columns.py": [
        "the first line names the columns, and here it reads like data: {}; add a line of names",
        "nearly every label is a class of its own: {}; name the column of the classes: {label}",
    ],
    "data/readers/datasets.py": [
        "{} is not in {} and cannot be downloaded ({}); pass root=FOLDER",
    ],
    "data/readers/decoding.py": [
        "memory is too short to decode image {}; read with fewer workers, or free memory",
        "cannot read image {}: {}; repair or remove it",
        "{} pictures of more than 8 bits hold values from {} to {}: with {} as black and {} as white {} gray level{} of {} are left; say {}",
        "{} pictures have 16 bits a color, of which the upper 8 are read, and use so few of them that {} of 256 levels of a color remain; save them with 8 bits, brightened first",
    ],
    "data/readers/encoding.py": [
        "pass a file that TableEncoding.save wrote",
    ],
    "data/readers/folders.py": [
        "{} of {} files cannot be read and were left out ({}); see pile.skipped",
    ],
    "data/readers/left_out.py": [
        "convert what is a picture to one of {}",
        "the classes {} look like parts of a split; pass one as folder and the other as test=",
        "{} with several pictures (pages or frames, {} in all): only the first of each is read; save the others as files of their own",
        "{} of one color once transparency is laid on white: what they show is in the alpha channel alone; lay them on another color before",
        "{} cropped to {}x{}: up to {} of a picture is cut off at its edges; keep all with {}",
    ],
    "data/readers/scanning.py": [
        "workers is {}; it must be 0 or more",
        "; repair or remove it",
    ],
    "data/readers/tabular.py": [
        "{} has {} rows of {} columns, as a table {} GiB, and this machine has {}; save the numbers as .npy files, which are read row by row",
        "{} has {} columns; of more than {} each would be looked at for minutes: save the numbers as an array, numpy.savez('data.npz', x=..., y=...), which is read at once",
    ],
    "data/readers/wrapped.py": [
        "{} draws at random, and gives another input each time a row is read; take its random transforms out: views draw",
    ],
    "data/views/albumentations.py": [
        "inputs have shape {}, not (B, C, H, W); use TableViews for tables",
        "the pipeline gives images of {} and {}; end it with a crop or a resize",
        "{} is a {} {}, and no pipeline of albumentations; pass albumentations.Compose([...]), or take TensorViews for views without that library",
        "{} has a Normalize, and views are normalized once more by mean and std, as plain ones are; take it out (and pass its numbers as AlbumentationsViews(mean=..., std=...) if it must be those)",
        "the pipeline gives values from {} to {}, where pictures have 0 to 255 or 0.0 to 1.0; do not normalize in it: mean and std do so afterwards",
    ],
}
