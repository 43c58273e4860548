"""Bad configs that users might write: each gives one sentence with the place and what to do."""

from pathlib import Path

import pytest
import yaml

from edgepress import config, config_text
from edgepress.config import RunConfig
from edgepress.config_text import ConfigError

INTEGER, NUMBER, LIST, STRING, NAMES = (
    "a valid integer",
    "a valid number",
    "a valid list",
    "a valid string",
    "as {name:",
)
LETTERS = "must be of letters, digits, _ and -"

# what is wrong: (the config, what the sentence says…)
BAD = {
    # run
    "run has a slash": ("run: a/b", "'run' is 'a/b'", LETTERS),
    "run leads elsewhere": ("run: ../elsewhere", "'run' is '../elsewhere'", LETTERS),
    "run is a path": ("run: /tmp", "'run' is '/tmp'", LETTERS),
    "run is hidden": ("run: .hidden", "'run' is '.hidden'", "begin with a letter or digit"),
    "run looks like an option": ("run: -x", "'run' is '-x'", "begin with a letter or digit"),
    "run is empty text": ("run: ''", "'run' is ''", LETTERS),
    "run is two words": ("run: two words", "'run' is 'two words'", LETTERS),
    "run is two lines": (r'run: "two\nlines"', r"'run' is 'two\nlines'", LETTERS),
    "run ends in a line break": (r'run: "starter\n"', r"'run' is 'starter\n'", LETTERS),
    "run has a NUL": (r'run: "a\0"', r"'run' is 'a\x00'", LETTERS),
    "run has half a character": (r'run: "\ud800"', r"'run' is '\ud800'", "unable to parse"),
    "run colours the terminal": (r'run: "\e[31m"', r"'run' is '\x1b[31m'", LETTERS),
    "run has an umlaut": ("run: größe", "'run' is 'größe'", LETTERS),
    "run is too long": (f"run: {'a' * 65}", "'run' is 'aaa", "at most 64 characters"),
    "run is that of committed results": ("run: reference", "'run'", "committed results", "another name"),
    "run is nothing": ("run:", "'run' is None", STRING),
    "run is a number": ("run: 3", "'run' is 3", STRING, "quotes"),
    "run is a fraction": ("run: 1.5", "'run' is 1.5", STRING, "quotes"),
    "run is a date": ("run: 2020-01-01", "'run' is datetime.date(2020, 1, 1)", STRING, "quotes"),
    "run is what YAML takes for false": ("run: no", "'run' is False", STRING, "quotes"),
    "run is a list": ("run: [a]", "'run' is ['a']", STRING),
    # peers
    "a peer misspelt": ("peers: [torchoa]", "'peers'", "no peer 'torchoa'", "did you mean 'torchao'?"),
    "a peer alone": ("peers: torchao", "'peers' is 'torchao'", LIST),
    "a peer twice": ("peers: [torchao, torchao]", "'peers' lists 'torchao' more than once"),
    "peers a number": ("peers: 1", "'peers' is 1", LIST),
    "a chain named like a peer": ("chains: {torchao: {steps: [magnitude]}}", "'torchao' cannot be the name of a chain"),
    # hardware, energy
    "hardware is one word": ("hardware: w8a8", "'hardware' is 'w8a8'", LIST),
    "hardware without bits of activations": ("hardware: [w8]", "'hardware[0]'", "'w8' is no precision", "w4a8"),
    "hardware with odd bits": ("hardware: [w8a8, w17a8]", "'hardware[1]'", "w17a8", "1–16 or 32"),
    "hardware with sparsity": ("hardware: [w4a8s50]", "'hardware[0]'", "w4a8s50"),
    "hardware twice": ("hardware: [w8a8, w8a8]", "'hardware'", "'w8a8' more than once"),
    "hardware of a data set": ("overrides: {digits: {hardware: [a8]}}", "'overrides.digits.hardware[0]'", "'a8'"),
    "energy is a country": ("energy: DEU", "'energy' is 'DEU'"),
    "energy without a country": ("energy: {}", "energy.country"),
    "energy in a country by name": ("energy: {country: Germany}", "'energy.country' is 'Germany'"),
    "energy with a typo": ("energy: {country: DEU, contry: DEU}", "energy: there is no", "mean 'country'?"),
    # device, threads, mirror, split_seed
    "device is unknown": ("device: gpu", "'device' is 'gpu'", "must be 'auto', 'cpu' or 'cuda'"),
    "device has a number": ("device: cuda:1", "'device' is 'cuda:1'", "'cuda'"),
    "device is a list": ("device: [cpu]", "'device' is ['cpu']", "'cpu'"),
    "device is nothing": ("device: null", "'device' is None", "'auto'"),
    "threads are none": ("threads: 0", "'threads' is 0", "at least 1"),
    "threads are negative": ("threads: -4", "'threads' is -4", "at least 1"),
    "threads beyond any machine": ("threads: 2000000000", "'threads' is 2000000000", "at most 1024"),
    "threads as text": ("threads: '2'", "'threads' is '2'", INTEGER),
    "threads a fraction": ("threads: 2.0", "'threads' is 2.0", INTEGER),
    "threads a truth": ("threads: true", "'threads' is True", INTEGER),
    "threads nothing": ("threads:", "'threads' is None", INTEGER),
    "mirror is a number": ("mirror: 3", "'mirror' is 3", STRING),
    "mirror is a list": ("mirror: [a, b]", "'mirror' is ['a', 'b']", STRING),
    "split_seed is negative": ("split_seed: -1", "'split_seed' is -1", "at least 0"),
    "split_seed is too large": ("split_seed: 2147483648", "'split_seed' is 2147483648", "less than"),
    "split_seed is a truth": ("split_seed: false", "'split_seed' is False", INTEGER),
    "split_seed is a list": ("split_seed: [0]", "'split_seed' is [0]", INTEGER),
    # seeds
    "no seeds": ("seeds: []", "'seeds' is empty", "at least one"),
    "seeds a number": ("seeds: 3", "'seeds' is 3", LIST, "[3]"),
    "seeds as text": ("seeds: '012'", "'seeds' is '012'", LIST),
    "seeds nothing": ("seeds:", "'seeds' is None", LIST),
    "seeds a mapping": ("seeds: {0: 1}", "'seeds' is {0: 1}", LIST),
    "seeds a set": ("seeds: !!set {0, 1}", "'seeds' is {0, 1}", LIST),
    "a seed twice": ("seeds: [0, 1, 0]", "'seeds' lists 0 more than once", "name it once"),
    "a negative seed": ("seeds: [0, -1]", "'seeds[1]' is -1", "at least 0"),
    "a seed beyond 31 bits": ("seeds: [2147483648]", "'seeds[0]'", "less than 2147483648"),
    "a seed beyond 64 bits": ("seeds: [100000000000000000000]", "'seeds[0]'", "less than 2147483648"),
    "a seed with a point": ("seeds: [1.0]", "'seeds[0]' is 1.0", INTEGER),
    "a seed with an exponent": ("seeds: [1e3]", "'seeds[0]' is '1e3'", "write 1000"),
    "a seed a truth": ("seeds: [true]", "'seeds[0]' is True", INTEGER),
    "a seed a list": ("seeds: [[0]]", "'seeds[0]' is [0]", INTEGER),
    "a seed that YAML takes for octal": ("seeds: [010]", "line 1 has 010, which YAML reads as 8", "write the number"),
    "a seed that YAML takes for minutes": ("seeds: [1:30]", "has 1:30, which YAML reads as 90", "write the number"),
    # networks
    "no networks": ("networks: {}", "'networks' is empty", "at least one"),
    "networks nothing": ("networks:", "'networks' is None", NAMES),
    "networks a list": ("networks: [cnn]", "'networks' is ['cnn']", NAMES),
    "networks a name": ("networks: cnn", "'networks' is 'cnn'", NAMES),
    "a data set misspelt": ("networks: {digit: [cnn]}", "no data set 'digit'", "did you mean 'digits'?"),
    "a data set unknown": ("networks: {imagenet_22k: [cnn]}", "no data set 'imagenet_22k'", "known are", "digits"),
    "a data set without networks": ("networks: {digits: []}", "'networks.digits' is empty", "at least one"),
    "networks of a data set as text": ("networks: {digits: cnn}", "'networks.digits' is 'cnn'", LIST),
    "networks of a data set nothing": ("networks: {digits: }", "'networks.digits' is None", LIST),
    "networks of a data set a mapping": ("networks: {digits: {cnn: 1}}", "'networks.digits' is {'cnn': 1}", LIST),
    "a network misspelt": ("networks: {digits: [dnn_simpel]}", "network 'dnn_simpel'", "did you mean 'dnn_simple'?"),
    "a network cut short": ("networks: {digits: [cn]}", "no network 'cn'", "did you mean 'cnn'?"),
    "a network unknown": ("networks: {digits: [transformer]}", "no network 'transformer'", "known are", "resnet8"),
    "a network twice": ("networks: {digits: [cnn, cnn]}", "'networks.digits' lists 'cnn' more than once"),
    "a network a number": ("networks: {digits: [1]}", "'networks.digits[0]' is 1", STRING),
    "a network a list": ("networks: {digits: [[cnn]]}", "'networks.digits[0]' is ['cnn']", STRING),
    "a data set a number": ("networks: {1: [cnn]}", "networks", "1", "names must be strings", "quotes"),
    "images' network on a table": ("networks: {breast_cancer: [cnn]}", "'cnn' takes image inputs", "give it another"),
    "one that does not fit after one that does": (
        "networks: {mv_synthetic: [dnn_simple, cnn]}",
        "'cnn' takes image inputs but 'mv_synthetic' is a table",
    ),
    # methods
    "no methods": ("methods: []", "'methods' is empty", "at least one"),
    "methods nothing": ("methods: null", "'methods' is None", LIST),
    "methods a name": ("methods: midrise", "'methods' is 'midrise'", LIST),
    "methods a mapping": ("methods: {midrise: [4]}", "'methods' is {'midrise': [4]}", LIST),
    "a method misspelt": ("methods: [midris]", "no method 'midris'", "did you mean 'midrise'?"),
    "a method with a hyphen": ("methods: [stochastic-normal]", "'stochastic-normal'", "mean 'stochastic_normal'?"),
    "a method in capitals": ("methods: [LSQ]", "no method 'LSQ'", "did you mean 'lsq'?"),
    "full precision as a method": ("methods: [fp32]", "no method 'fp32'", "known are"),
    "a method twice": ("methods: [random, midrise, random]", "'methods' lists 'random' more than once"),
    "a method a number": ("methods: [4]", "'methods[0]' is 4", STRING),
    "a method nothing": ("methods: [midrise, null]", "'methods[1]' is None", STRING),
    "a method with arguments": ("methods: [midrise: {bits: 4}]", "'methods[0]' is {'midrise'", STRING),
    "a network as a method": ("methods: [cnn]", "'methods': there is no method 'cnn'", "known are"),
    "no bits of activations": ("act_bits: [0]", "'act_bits[0]' is 0", "at least 1"),
    "BatchNorm folded as text": ("fold_bn: 'yes'", "'fold_bn' is 'yes'", "true or false"),
    # bits
    "no bits": ("bits: []", "'bits' is empty", "at least one"),
    "bits a number": ("bits: 4", "'bits' is 4", LIST, "as [4]"),
    "bits as text": ("bits: 8 4", "'bits' is '8 4'", LIST),
    "bits a range": ("bits: 2-8", "'bits' is '2-8'", LIST),
    "no bit": ("bits: [8, 0]", "'bits[1]' is 0", "at least 1"),
    "a bit too many": ("bits: [17]", "'bits[0]' is 17", "at most 16"),
    "full precision as bits": ("bits: [32]", "'bits[0]' is 32", "at most 16"),
    "negative bits": ("bits: [-4]", "'bits[0]' is -4", "at least 1"),
    "quoted bits": ("bits: ['4']", "'bits[0]' is '4'", INTEGER),
    "bits with a point": ("bits: [4.0]", "'bits[0]' is 4.0", INTEGER),
    "half a bit": ("bits: [1.58]", "'bits[0]' is 1.58", INTEGER),
    "bits a truth": ("bits: [yes]", "'bits[0]' is True", INTEGER),
    "bits a level": ("bits: [w4]", "'bits[0]' is 'w4'", INTEGER),
    "bits that are none": ("bits: [null]", "'bits[0]' is None", INTEGER),
    "bits twice": ("bits: [4, 8, 4]", "'bits' lists 4 more than once", "name it once"),
    "bits for retraining too many": ("retraining_bits: [17]", "'retraining_bits[0]' is 17", "at most 16"),
    "bits for retraining twice": ("retraining_bits: [4, 4]", "'retraining_bits' lists 4 more than once"),
    "bits for retraining a number": ("retraining_bits: 4", "'retraining_bits' is 4", LIST),
    # sparsity
    "no sparsity": ("sparsity: []", "'sparsity' is empty", "at least one"),
    "sparsity a number": ("sparsity: 0.5", "'sparsity' is 0.5", LIST, "[0.5]"),
    "everything removed": ("sparsity: [1.0]", "'sparsity[0]' is 1.0", "less than 1"),
    "sparsity in percent": ("sparsity: [0.5, 50]", "'sparsity[1]' is 50", "less than 1"),
    "sparsity with a sign for percent": ("sparsity: [50%]", "'sparsity[0]' is '50%'", NUMBER),
    "sparsity below 0": ("sparsity: [-0.1]", "'sparsity[0]' is -0.1", "at least 0"),
    "sparsity a truth": ("sparsity: [true]", "'sparsity[0]' is True", NUMBER),
    "sparsity that is none": ("sparsity: [~]", "'sparsity[0]' is None", NUMBER),
    "sparsity no number": ("sparsity: [.nan]", "'sparsity[0]' is nan", "a finite number"),
    "sparsity without end": ("sparsity: [.inf]", "'sparsity[0]' is inf", "must be"),
    "sparsity of too many decimals": ("sparsity: [0.1234567]", "'sparsity[0]'", "six decimals", "round it"),
    "sparsity twice, in two ways": ("sparsity: [0, 0.0]", "'sparsity' lists 0.0 more than once"),
    "sparsity with a comma": ("sparsity: [0,5]", "'sparsity[1]' is 5", "less than 1"),
    # draws, splits
    "no draws": ("draws: 0", "'draws' is 0", "at least 1"),
    "draws a fraction": ("draws: 2.5", "'draws' is 2.5", INTEGER),
    "draws as text": ("draws: '5'", "'draws' is '5'", INTEGER),
    "draws a list": ("draws: [5]", "'draws' is [5]", INTEGER),
    "draws beyond all time": ("draws: 1000000000000", "'draws' is 1000000000000", "less than"),
    "no splits": ("splits: []", "'splits' is empty", "at least one"),
    "a split unknown": ("splits: [validation]", "'splits[0]' is 'validation'", "'val'"),
    "a split twice": ("splits: [val, val]", "'splits' lists 'val' more than once"),
    "splits a name": ("splits: test", "'splits' is 'test'", LIST),
    # weights, frozen
    "weights a number": ("weights: 1", "'weights' is 1", STRING),
    "weights a list": ("weights: [a.safetensors]", "'weights' is ['a.safetensors']", STRING),
    "weights that are not there": ("weights: no.safetensors", "'weights' of digits/dnn_simple is 'no.safe", "name a"),
    "weights a folder": ("weights: /", "'weights' of digits/dnn_simple is '/'", "does not exist", "safetensors file"),
    "weights with a NUL": (r'weights: "a\0"', r"'weights' of digits/dnn_simple is 'a\x00'", "name a safetensors file"),
    "frozen without weights": ("frozen: true", "'frozen' is true", "'weights' names no file", "remove 'frozen'"),
    "frozen a number": ("frozen: 1", "'frozen' is 1", "true or false"),
    "frozen as text": ("frozen: 'true'", "'frozen' is 'true'", "true or false"),
    # training, retraining
    "training nothing": ("training:", "'training' of digits/dnn_simple is None", "'weights' must name the file"),
    "training a name": ("training: fast", "'training' is 'fast'", NAMES),
    "training a list": ("training: [lr]", "'training' is ['lr']", NAMES),
    "a rate of 0": ("training: {lr: 0}", "'training.lr' is 0", "more than 0"),
    "a negative rate": ("training: {lr: -0.1}", "'training.lr' is -0.1", "more than 0"),
    "a rate beyond 1": ("training: {lr: 3}", "'training.lr' is 3", "at most 1"),
    "a rate that YAML takes for text": ("training: {lr: 1e-3}", "'training.lr' is '1e-3'", "write 0.001"),
    "a rate a truth": ("training: {lr: true}", "'training.lr' is True", NUMBER),
    "a rate no number": ("training: {lr: .nan}", "'training.lr' is nan", "must be"),
    "a rate a list": ("training: {lr: [0.1]}", "'training.lr' is [0.1]", NUMBER),
    "batches of none": ("training: {batch_size: 0}", "'training.batch_size' is 0", "at least 1"),
    "batches of a half": ("training: {batch_size: 1.5}", "'training.batch_size' is 1.5", INTEGER),
    "batches beyond 31 bits": ("training: {batch_size: 99999999999}", "'training.batch_size'", "less than"),
    "no epochs": ("training: {max_epochs: 0}", "'training.max_epochs' is 0", "at least 1"),
    "endless epochs": ("training: {max_epochs: .inf}", "'training.max_epochs' is inf", "must be"),
    "no patience": ("training: {patience: 0}", "'training.patience' is 0", "at least 1"),
    "a schedule unknown": ("training: {schedule: step}", "'training.schedule' is 'step'", "'cosine' or 'onecycle'"),
    "no resolution": ("training: {resolutions: []}", "'training.resolutions' is empty", "at least one"),
    "a resolution of 0": ("training: {resolutions: [0, 1]}", "'training.resolutions[0]' is 0", "more than 0"),
    "resolutions that end small": (
        "training: {resolutions: [0.5]}",
        "'training.resolutions' lists [0.5]",
        "end at 1.0",
    ),
    "resolutions that fall": ("training: {resolutions: [1, 0.5, 1]}", "'training.resolutions' lists", "end at 1.0"),
    "resolutions of a table": (
        "networks: {breast_cancer: [dnn_simple]}\ntraining: {resolutions: [0.5, 1]}",
        "'training.resolutions' of breast_cancer/dnn_simple",
        "'breast_cancer' is a table",
    ),
    "a schedule YAML takes for false": ("training: {schedule: off}", "'training.schedule' is False", "'cosine'"),
    "decay of 1": ("training: {weight_decay: 1}", "'training.weight_decay' is 1", "less than 1"),
    "decay below 0": ("training: {weight_decay: -1}", "'training.weight_decay' is -1", "at least 0"),
    "augmentation unknown": ("training: {augment: flip}", "'training.augment' is 'flip'", "'crop_flip'"),
    "smoothing of everything": ("training: {label_smoothing: 1}", "'training.label_smoothing' is 1", "less than 1"),
    "precision unknown": ("training: {precision: fp16}", "'training.precision' is 'fp16'", "'bf16'"),
    "a setting of training misspelt": ("training: {epochs: 3}", "training: there is no setting", "'max_epochs'?"),
    "a setting of training unknown": ("training: {warmup: 3}", "setting 'warmup'", "known are", "batch_size"),
    "a rate of retraining of 0": ("retraining: {lr: 0}", "'retraining.lr' is 0", "more than 0"),
    "a setting of retraining misspelt": ("retraining: {patince: 3}", "setting 'patince'", "mean 'patience'?"),
    # chains
    "chains a list": ("chains: [midrise]", "'chains' is ['midrise']", NAMES),
    "a chain a list": ("chains: {mine: [midrise]}", "'chains.mine' is ['midrise']", NAMES),
    "a chain without steps": ("chains: {mine: {bits: [4]}}", "'chains.mine.steps' is missing", "name it"),
    "a chain of no steps": ("chains: {mine: {steps: []}}", "'chains.mine.steps' is empty", "at least one"),
    "a step misspelt": ("chains: {mine: {steps: [magnitud]}}", "'chains.mine.steps'", "did you mean 'magnitude'?"),
    "a step twice": ("chains: {mine: {steps: [random, random]}}", "'chains.mine.steps' lists 'random' more than once"),
    "a setting of a chain misspelt": (
        "chains: {mine: {step: [random]}}",
        "chains.mine: there is no setting",
        "'steps'?",
    ),
    "a chain called like a method": ("chains: {random: {steps: [lsq]}}", "'random' cannot be the name", "a new one"),
    "a chain called like full precision": ("chains: {fp32: {steps: [lsq]}}", "'fp32' cannot be the name", "a new one"),
    "a chain called like a path": ("chains: {../x: {steps: [lsq]}}", "'../x' cannot be the name", "letters, digits"),
    "a step that trains after another": (
        "chains: {mine: {steps: [magnitude, lsq]}}",
        "'lsq' fine-tunes the network",
        "first step of 'mine'",
    ),
    "a step that changes weights after another": (
        "chains: {mine: {steps: [magnitude, obs]}}",
        "'obs' changes the weights that it keeps",
        "first step of 'mine'",
    ),
    "shares of retraining out of range": ("retraining_sparsity: [1]", "'retraining_sparsity[0]' is 1", "less than 1"),
    "a chain without levels": (
        "chains: {mine: {steps: [huffman]}}",
        "none of the steps of 'mine' has levels",
        "add a method",
    ),
    "a step of chains as a method": ("methods: [huffman]", "'huffman' has no levels by itself", "'chains'"),
    "bits of a chain that has none": (
        "chains: {mine: {steps: [random], bits: [4]}}",
        "none of the steps of 'mine' has bits",
        "remove it",
    ),
    "bits of activations of a chain that has none": (
        "chains: {mine: {steps: [random], act_bits: [4]}}",
        "none of the steps of 'mine' has act_bits",
        "remove it",
    ),
    "sparsity of a chain that has none": (
        "chains: {mine: {steps: [midrise], sparsity: [0.5]}}",
        "none of the steps of 'mine' has sparsity",
        "remove it",
    ),
    # overrides
    "overrides a list": ("overrides: [digits]", "'overrides' is ['digits']", NAMES),
    "an override of an unknown data set": ("overrides: {digit: {}}", "no data set 'digit'", "mean 'digits'?"),
    "an override of an unknown network": ("overrides: {digits/cnnn: {}}", "no network 'cnnn'", "mean 'cnn'?"),
    "an override of a network without name": ("overrides: {digits/: {}}", "no network ''", "known are"),
    "an override of three parts": ("overrides: {digits/cnn/0: {}}", "no network 'cnn/0'", "'cnn'"),
    "an override misspelt": ("overrides: {digits: {drawn: 3}}", "overrides.digits: there is no", "mean 'draws'?"),
    "an override of the run": ("overrides: {digits: {run: mine}}", "no setting 'run'", "known are"),
    "an override of a seed": ("overrides: {digits: {seeds: 0}}", "'overrides.digits.seeds' is 0", LIST),
    "an override that is none": ("overrides: {digits: {draws: null}}", "'overrides.digits.draws' is None", INTEGER),
    "an override of no draws": ("overrides: {digits: {draws: 0}}", "'overrides.digits.draws' is 0", "at least 1"),
    "an override of training misspelt": (
        "overrides: {digits: {training: {lrr: 3}}}",
        "digits.training: there is no",
        "'lr'?",
    ),
    "an override of a method": ("overrides: {digits: {methods: [midris]}}", "'overrides.digits.methods'", "'midrise'"),
    "an override of a chain": (
        "overrides: {digits: {chains: {x: {step: [a]}}}}",
        "digits.chains.x: there is no",
        "'steps'?",
    ),
    "an override that freezes nothing": (
        "overrides: {digits/cnn: {frozen: true}}",
        "'frozen' is true for digits/cnn",
        "remove 'frozen'",
    ),
    # replication
    "a replication without weights": ("replication: {}", "'replication.weights' is missing", "name it"),
    "a replication of nowhere": ("replication: {weights: /nowhere}", "'replication.weights' is '/nowhere'", "name the"),
    "a replication of another set": ("replication: {weights: a, datasets: [digits]}", "'replication.datasets[0]'"),
    "a replication of one draw": ("replication: {weights: a, draws: 1}", "'replication.draws' is 1", "at least 2"),
    "a replication misspelt": ("replication: {weight: a}", "no setting 'weight'", "did you mean 'weights'?"),
    # settings that do not exist
    "a setting misspelt": ("sparcity: [0.5]", ": there is no setting 'sparcity'", "did you mean 'sparsity'?"),
    "a setting in the singular": ("bit: [4]", "no setting 'bit'", "did you mean 'bits'?"),
    "a setting unknown": ("xyzzy: 1", "no setting 'xyzzy'", "known are", "training"),
    "a setting of training at the top": ("lr: 0.1", "no setting 'lr'", "known are"),
    "a setting that is a number": ("1: 2", "'[1]' is 1", "names must be strings"),
    "a setting that is nothing": ("~: 2", "'None' is None", "names must be strings"),
    "a setting of two lines": (r'"xyz\nxyz": 1', r"no setting 'xyz\nxyz'", "known are"),
    "a setting of half a character": (r'"\ud800": 1', r"it is '\ud800'", "unable to parse"),
    "a method of two lines": (r'methods: ["two\nlines"]', r"no method 'two\nlines'", "known are"),
    "a data set of two lines": (r'networks: {"two\nlines": [cnn]}', r"no data set 'two\nlines'", "known are"),
    # YAML
    "a setting twice": ("run: a\nbits: [4]\nrun: b\n", "line 3 names 'run' a second time", "name it once"),
    "a setting of training twice": ("training:\n  lr: 0.1\n  lr: 0.2\n", "line 3 names 'lr' a second time"),
    "a data set twice": ("networks: {digits: [cnn], digits: [dnn_simple]}", "line 1 names 'digits' a second time"),
    "a name twice deep inside": ("x: [{a: 1, b: [{c: 1, c: 2}]}]", "names 'c' a second time", "once"),
    "a bracket left open": ("bits: [4", "cannot be read as YAML", "expected", "mend the file"),
    "a quote left open": ("run: 'a\n", "cannot be read as YAML", "quoted", "mend the file"),
    "a tab": ("run: a\n\tbits: [4]\n", "cannot be read as YAML", "line 2", "mend the file"),
    "a value of no type": ("overrides: {digits: !mine {draws: 2}}\n", "has a value tagged '!mine'", "plain one"),
    "an anchor of nowhere": ("run: *nowhere\n", "cannot be read as YAML", "nowhere", "mend the file"),
    "two documents": ("run: a\n---\nrun: b\n", "cannot be read as YAML", "single document", "mend the file"),
    "a NUL": ("run: \x00\n", "cannot be read as YAML", "mend the file"),
    "bytes that are no text": (b"run: \xff\xfe\n", "cannot be read as YAML", "utf-8", "mend the file"),
    "another encoding": ("run: größe".encode("latin-1"), "cannot be read as YAML", "utf-8", "mend the file"),
    "nested without end": ("[" * 100_000, "cannot be read as YAML", "mend the file"),
    "a key that is a list": ("? [a, b]\n: 1\n", "line 1 has a key that is no plain name", "name the setting"),
    "a key that is a mapping": ("{{a: 1}: 2}\n", "line 1 has a key that is no plain name", "name the setting"),
    "a value that contains itself": ("a: &a {b: *a}\n", "contains itself", "write out"),
    "aliases of aliases": (
        "a0: &a0 [1]\n" + "".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]\n" for i in range(40)),
        "no setting 'a0'",
        "40 more errors",
    ),
    "a list of settings": ("- run: a\n", "it is [{'run': 'a'}]", NAMES),
    "text": ("accuracy,loss", "it is 'accuracy,loss'", NAMES),
    "nothing": ("", "it is None", NAMES),
    "templates": ("__use_yte__: true\nrun: ?1 + 1\n", "line 1 has '__use_yte__'", "write out the values"),
    "code": ("run: !!python/object/apply:os.getcwd []", "line 1 has a value tagged", "python/object", "plain one"),
}


def read(path: Path) -> RunConfig:
    """What the Snakefile does with a config file."""
    config_text.check_keys(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.constructor.ConstructorError as error:  # Snakemake has read the file before, and refused it
        raise ConfigError(f"{path}: {' '.join(str(error).split())}") from None
    asked = config.parse(raw, str(path))
    config.check_paths(asked, str(path))
    return asked


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize("wrong", BAD)
def test_a_bad_config_is_told_in_one_sentence(tmp_path, wrong):
    text, *said = BAD[wrong]
    path = write(tmp_path / "mine.yaml", text)
    with pytest.raises(ConfigError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable() and len(message) < 700
    assert [words for words in said if words not in message] == [], message
