"""Training: sums of gradients that one person moves by more than the clip, and steps that are not those accounted for."""

from __future__ import annotations

from mutant import Change, Mutant, mutant

GRADIENTS = "common/cohortium/queries/gradients.py"
TRAINING = "common/cohortium/queries/local_training.py"
CLIPPING = "common/cohortium/neural/clipping.py"
NETWORK = "common/cohortium/neural/network.py"
EXACT = "common/cohortium/neural/exact.py"
CRITIC = "common/cohortium/neural/critic.py"
REGRESSIVE = "common/cohortium/neural/autoregressive.py"
VAE = "common/cohortium/neural/vae.py"
STATE = "common/cohortium/neural/state.py"
QUERIES = "tests/contracts/test_queries.py"
NETWORKS = "tests/contracts/test_networks.py"
LAWS = "tests/laws/test_exact.py"
KILLERS = "tests/mutants/test_training_killers.py"
LONGER = f"{KILLERS}::test_a_person_is_never_longer_than_the_clip"
SINGLE = f"{KILLERS}::test_the_sum_is_that_of_single_persons"
SENSITIVITY = f"{KILLERS}::test_the_sensitivity_is_the_clip_and_the_last_rounding"
SAMPLED = f"{KILLERS}::test_everybody_takes_part_by_a_coin_of_their_own_in_every_step"
NOISE = f"{KILLERS}::test_an_answer_is_a_sum_and_its_noise"
CHARGED = f"{QUERIES}::TestContract::test_the_noise_that_is_drawn_is_the_noise_that_is_charged"
BESIDE = f"{NETWORKS}::TestEveryNetwork::test_a_rows_errors_do_not_depend_on_the_rows_beside_it"
IN_ANY_ORDER = f"{LAWS}::test_a_rows_result_does_not_depend_on_the_order_of_adding"
SUM_IN_ANY_ORDER = f"{QUERIES}::test_no_digit_of_a_sum_depends_on_the_order_of_adding"
ERRORS_IN_ANY_ORDER = f"{NETWORKS}::TestEveryNetwork::test_a_rows_errors_do_not_depend_on_the_order_of_adding"
SCALE = "    scale = room / torch.maximum(lengths, groups.shares * (clip * FIXED))\n"
SUMMED = "total += clipped_sum(network, at, batch, self.clip, units, together).cpu().numpy()"
CHOSEN = "        chosen = happens(rate, self.count, randomness)\n"
NOISED = "return add_noise(self.bounded(people, flat, multiplier, randomness), multiplier, randomness)"
STEPS = "        for _ in range(self.steps):\n"
STEP = "            noised = self.step.noised(people, parameters, multiplier, randomness)\n"
CANCEL = "(room > 0) & (apart * scale <= CANCELLING * units)"
NORMS = "norms = (squares.clamp(min=0.0) + INEXACT * apart_norms * apart_norms).sqrt().ceil()"

_CLIP: tuple[Mutant, ...] = (
    mutant(
        "clips no gradient",
        "3.2 (c)",
        f"{LONGER}[rows-tvae]",
        CLIPPING,
        SCALE,
        "    scale = room / (groups.shares * (clip * FIXED))\n",
    ),
    mutant(
        "clips each micro-batch by the median length in it",
        "P20",
        f"{SINGLE}[rows-autoregressive]",
        CLIPPING,
        SCALE,
        "    scale = room / torch.maximum(lengths, lengths.median())\n",
    ),
    mutant(
        "clips every layer by itself",
        "P17",
        f"{LONGER}[rows-autoregressive]",
        CLIPPING,
        "lengths, apart = groups.lengths(entries)",
        "lengths, apart = groups.lengths(entries[:1])",
    ),
    mutant(
        "leaves no room for rounding below the clip",
        "P30",
        f"{LONGER}[rows-diffusion]",
        CLIPPING,
        " - groups.rounding(entries)\n",
        "\n",
    ),
    mutant(
        "leaves room for the rounding of one of a person's rows",
        "P27, P30",
        f"{LONGER}[rows-diffusion]",
        CLIPPING,
        "return self._none.index_add(0, self.of_persons, (squares.sqrt() * 1.001).ceil())",
        "each = (squares.sqrt() * 1.001).ceil()\n"
        '        return self._none.scatter_reduce(0, self.of_persons, each, "amin", include_self=False)',
    ),
    mutant(
        "lets rows that cancel outgrow what sums are exact for",
        "P3, P18",
        f"{KILLERS}::test_sums_have_room_where_rows_cancel",
        CLIPPING,
        CANCEL,
        "room > 0",
    ),
    Mutant(
        "takes rows that cancel for as short as floating point finds them",
        "P27, P30",
        f"{KILLERS}::test_rows_that_cancel_are_no_shorter_than_they_are",
        (Change(CLIPPING, CANCEL, "room > 0"), Change(CLIPPING, NORMS, "norms = squares.clamp(min=0.0).sqrt().ceil()")),
    ),
    mutant(
        "forgets in a person's norm that rows add up",
        "P27",
        f"{LONGER}[persons-ctgan]",
        CLIPPING,
        "        for apart in range(most):\n",
        "        for apart in range(min(1, most)):\n",
    ),
    mutant(
        "clips every row of a person instead of the person",
        "P27",
        f"{LONGER}[rows-ctgan]",
        CLIPPING,
        "            self._none.index_add(0, self._persons, norms),\n",
        '            self._none.scatter_reduce(0, self._persons, norms, "amax"),\n',
    ),
    mutant(
        "forgets the biases in the norm",
        "P16, P17",
        f"{LONGER}[rows-tvae]",
        CLIPPING,
        "return slopes.sum(1) * (inputs.sum(1) + 1.0)",
        "return slopes.sum(1) * inputs.sum(1)",
    ),
    mutant(
        "forgets the biases of masked layers in the norm",
        "P16, P17",
        f"{LONGER}[rows-ctgan]",
        CLIPPING,
        "        total = slopes.sum(1)\n",
        "        total = torch.zeros_like(slopes[:, 0])\n",
    ),
    mutant(
        "counts in the norm fewer inputs than a masked layer's outputs see",
        "P17",
        f"{LONGER}[rows-ctgan]",
        CLIPPING,
        "(ranks > of_inputs[:, None]).double()",
        "(ranks > of_inputs[:, None] + 1).double()",
    ),
    mutant(
        "takes all inputs for zeros and ones",
        "P17",
        f"{LONGER}[rows-tvae]",
        CLIPPING,
        "return self.inputs if self.layer.one_hot else self.inputs * self.inputs",
        "return self.inputs.abs()",
    ),
    mutant(
        "takes a row's views to be as long together as the first of them",
        "P17",
        f"{LONGER}[rows-diffusion]",
        CLIPPING,
        "        for place in range(most):\n",
        "        for place in range(min(1, most)):\n",
    ),
    mutant(
        "takes the gradient of one use of a layer that is used twice",
        "P17",
        f"{KILLERS}::test_a_layer_that_is_used_twice_is_refused",
        NETWORK,
        "        if any(trace.layer is layer for trace in self.traces):\n",
        "        if False:\n",
    ),
    mutant(
        "clips the encoder and leaves the decoder as it is",
        "P16",
        f"{LONGER}[persons-tvae]",
        CLIPPING,
        "groups.lengths(entries)",
        "groups.lengths([e for e in entries if e.layer.one_hot] or entries)",
    ),
    mutant(
        "counts a critic's forged rows at the institution, beside the clip",
        "P14, P16, P17",
        f"{LONGER}[rows-ctgan]",
        CLIPPING,
        "    return torch.cat(each).mul_(PARTS).long()\n",
        "    forged = torch.ones(len(flat), dtype=torch.float64, device=flat.device) * len(codes) * units / (10 * clip)\n"
        "    return (torch.cat(each) + forged.round()).mul_(PARTS).long()\n",
    ),
    mutant(
        "adds up a real rows' and a forged rows' pass, each clipped",
        "P17",
        f"{LONGER}[rows-ctgan]",
        CLIPPING,
        "    return torch.cat(each).mul_(PARTS).long()\n",
        "    return torch.cat(each).mul_(2 * PARTS).long()\n",
    ),
    mutant(
        "passes a gradient on that is not a number",
        "P19",
        f"{QUERIES}::test_errors_that_are_no_numbers_weigh_as_zero_and_poison_nobody[nan]",
        CLIPPING,
        ".mul_(FIXED).round_().nan_to_num_(0.0)",
        ".mul_(FIXED).round_()",
    ),
    mutant(
        "answers at a model state that is not finite",
        "P19",
        f"{QUERIES}::test_a_state_that_is_not_finite_is_refused[nan-gradients]",
        STATE,
        "if not all(np.isfinite(t).all() for t in tensors.values()):",
        "if not tensors:",
    ),
    mutant(
        "forgets in the sensitivity what rounding adds at the end",
        "P30",
        f"{SENSITIVITY}[tvae]",
        GRADIENTS,
        "return (self.units(multiplier) + math.sqrt(self._rounded)) * (1 + 1e-12)",
        "return self.units(multiplier) * (1 + 1e-12)",
    ),
    mutant(
        "counts the coordinates of unmasked layers alone as rounded",
        "P30",
        f"{SENSITIVITY}[autoregressive]",
        GRADIENTS,
        "if not (n.one_hot or n.constant))",
        "if not (n.one_hot or n.constant or n.ranks))",
    ),
)

_SUMS: tuple[Mutant, ...] = (
    mutant(
        "divides a sum by the persons in its sample",
        "P3",
        f"{SINGLE}[rows-autoregressive]",
        GRADIENTS,
        SUMMED,
        "total += clipped_sum(network, at, batch, self.clip, units, together).cpu().numpy() // (1 + int(owners[-1]))",
    ),
    mutant(
        "rounds the sum of every micro-batch",
        "P30",
        f"{SINGLE}[rows-autoregressive]",
        GRADIENTS,
        SUMMED,
        "total += to_units(clipped_sum(network, at, batch, self.clip, units, together).cpu().numpy()) * 4096",
    ),
    mutant(
        "counts a micro-batch again that follows another",
        "P17",
        f"{SINGLE}[rows-ctgan]",
        GRADIENTS,
        SUMMED,
        "total += total + clipped_sum(network, at, batch, self.clip, units, together).cpu().numpy()",
    ),
    mutant(
        "clips the rows of a person apart that fall into two micro-batches",
        "P27",
        f"{SINGLE}[persons-autoregressive]",
        GRADIENTS,
        "        for first in range(0, len(lengths), size):\n"
        "            part = slice(*np.searchsorted(owners, [first, first + size]))\n"
        "            yield self.values[rows[part]], owners[part] - first\n",
        "        for first in range(0, len(rows), size):\n"
        "            part = slice(first, first + size)\n"
        "            yield self.values[rows[part]], owners[part] - owners[first]\n",
    ),
    mutant(
        "leaves out the last persons of a large sample",
        "P2",
        f"{SINGLE}[rows-ctgan]",
        GRADIENTS,
        "for first in range(0, len(lengths), size):",
        "for first in range(0, min(1, len(lengths)), size):",
    ),
    mutant(
        "normalises errors by the batch",
        "P18",
        f"{BESIDE}[diffusion]",
        NETWORK,
        "traced = {t.layer.name: (t.layer, t.inputs, slope) for",
        "traced = {t.layer.name: (t.layer, t.inputs, slope - slope.mean(0)) for",
    ),
    mutant(
        "normalises a hidden layer by the batch",
        "P18",
        f"{BESIDE}[tvae]",
        VAE,
        'torch.relu(tape.linear("hidden", z))',
        'torch.relu(tape.linear("hidden", z - z.mean(0)))',
    ),
    mutant(
        "centres rows by the proportions of the batch",
        "P10, P18",
        f"{BESIDE}[autoregressive]",
        REGRESSIVE,
        'logits = tape.centred("skip", ones, centre) + columns',
        'logits = tape.centred("skip", ones, exact.as_input(ones.double().mean(0))) + columns',
    ),
    mutant(
        "compares a critic's rows with one another",
        "P15, P18",
        f"{BESIDE}[ctgan]",
        CRITIC,
        "return -self.score(tape, exact.one_hot(codes, self.sizes))",
        "score = self.score(tape, exact.one_hot(codes, self.sizes))\n        return (score - score.detach().mean()) ** 2",
    ),
    mutant(
        "shows a critic several rows at a time",
        "P15",
        f"{BESIDE}[ctgan]",
        CRITIC,
        "return -self.score(tape, exact.one_hot(codes, self.sizes))",
        "x = exact.one_hot(codes, self.sizes)\n        return -self.score(tape, (x + x.roll(1, 0)).clamp(max=1.0))",
    ),
    mutant(
        "reads off the table which cells are merged",
        "P10",
        f"{KILLERS}::test_the_table_says_nothing_about_which_cells_are_merged",
        GRADIENTS,
        '            cells = read_merged(state["cells"], self.sizes, self.architecture.sizes)\n',
        "            fine = zip(codes.values.T, self.sizes, self.architecture.sizes, strict=True)\n"
        "            full = ((np.bincount(column, minlength=k), m) for column, k, m in fine)\n"
        "            cells = np.concatenate([np.minimum(np.maximum(np.cumsum(n > 0) - 1, 0), m - 1) for n, m in full])\n",
    ),
)

_EXACT: tuple[Mutant, ...] = (
    mutant(
        "sends errors back in floating point",
        "P3, P18",
        f"{LAWS}::test_errors_of_any_length_go_back_by_their_grid",
        EXACT,
        "on_grid(error, ERROR_GRID, LARGEST_ERROR) @ weights.double()",
        "error @ weights.double()",
    ),
    mutant(
        "leaves inputs as long as they are",
        "P3, P18",
        f"{IN_ANY_ORDER}[512-linear]",
        EXACT,
        "return on_grid(values, INPUT_GRID, LARGEST_INPUT)",
        "return values.double().clone()",
    ),
    mutant(
        "leaves weights as long as they are",
        "P3, P18",
        f"{KILLERS}::test_weights_are_put_on_their_grid[200]",
        NETWORK,
        "return exact.on_grid(weights, grid, largest), exact.on_grid(",
        "return weights.double(), exact.on_grid(",
    ),
    mutant(
        "leaves weights of short sums as long as they are",
        "P3, P18",
        f"{KILLERS}::test_weights_are_put_on_their_grid[2]",
        NETWORK,
        "(exact.on_grid(t, exact.ONE_HOT_GRID, exact.LARGEST_WEIGHT) for t in layer.unpack(part))",
        "layer.unpack(part)",
    ),
    mutant(
        "adds up more in float32 than it holds",
        "P3, P18",
        f"{LAWS}::test_sums_of_a_few_weights_are_exact_in_float32_too[False-200]",
        NETWORK,
        "few = 2 * len(network.sizes) <= exact.COLUMNS",
        "few = True",
    ),
    mutant(
        "adds up chances in floating point",
        "P3, P18",
        f"{IN_ANY_ORDER}[512-chances]",
        EXACT,
        "powers.sum(1, keepdim=True, dtype=torch.float64).float()",
        "powers.div_(_WHOLE).sum(1, keepdim=True)",
    ),
    mutant(
        "computes exponentials where it should look them up",
        "P3, P18",
        f"{IN_ANY_ORDER}[37-chances]",
        EXACT,
        "        powers = table[place]\n",
        "        powers = torch.exp(place * (-1 / _POWER_GRID)).mul_(_WHOLE)\n",
    ),
    mutant(
        "lets errors back that are cut and not rounded",
        "P3, P18",
        f"{ERRORS_IN_ANY_ORDER}[0.3-tvae]",
        EXACT,
        "on_grid(error, ERROR_GRID, LARGEST_ERROR) @ weights.double()",
        "error.clamp(-LARGEST_ERROR, LARGEST_ERROR) @ weights.double()",
    ),
    mutant(
        "measures the length of errors that are not rounded",
        "P3, P18",
        f"{SUM_IN_ANY_ORDER}[gradients, tvae, hidden]",
        CLIPPING,
        "return cut.mul_(FIXED).round_().nan_to_num_(0.0)",
        "return cut.mul_(FIXED).nan_to_num_(0.0)",
    ),
    mutant(
        "adds up the squares of errors in float32",
        "P3, P18",
        f"{SUM_IN_ANY_ORDER}[gradients, diffusion]",
        CLIPPING,
        "            return slopes.sum(1) * (inputs.sum(1) + 1.0)\n",
        "            return slopes.float().sum(1).double() * (inputs.sum(1) + 1.0)\n",
    ),
    mutant(
        "takes layers that are too wide for exact sums",
        "P3, P18",
        f"{NETWORKS}::test_a_network_too_wide_to_be_exact_is_refused",
        "common/cohortium/neural/architecture.py",
        "    if max(widths) > WIDEST:\n",
        "    if max(widths) > 2 * WIDEST:\n",
    ),
)

_SAMPLES: tuple[Mutant, ...] = (
    mutant(
        "draws batches of a fixed size",
        "P1",
        f"{SAMPLED}[None]",
        GRADIENTS,
        CHOSEN,
        "        chosen = np.zeros(self.count, bool)\n"
        "        chosen[np.argsort(randomness.words(self.count))[: round(rate * self.count)]] = True\n",
    ),
    mutant(
        "goes through the persons in turn",
        "P1",
        f"{SAMPLED}[None]",
        GRADIENTS,
        CHOSEN,
        '        if not len(getattr(self, "left", ())):\n'
        "            self.left = np.argsort(randomness.words(self.count))\n"
        "        many = math.ceil(rate * self.count)\n"
        "        chosen = np.isin(np.arange(self.count), self.left[:many])\n"
        "        self.left = self.left[many:]\n",
    ),
    mutant(
        "draws one sample for all steps",
        "P1",
        f"{SAMPLED}[None]",
        GRADIENTS,
        CHOSEN,
        '        if not hasattr(self, "chosen"):\n'
        "            self.chosen = happens(rate, self.count, randomness)\n"
        "        chosen = self.chosen\n",
    ),
    mutant(
        "draws one sampling decision for all persons",
        "P1",
        f"{SAMPLED}[None]",
        GRADIENTS,
        CHOSEN,
        "        chosen = np.repeat(happens(rate, 1, randomness), self.count)\n",
    ),
    mutant(
        "samples more persons than it accounts for",
        "P1",
        f"{SAMPLED}[2]",
        GRADIENTS,
        CHOSEN,
        "        chosen = happens(min(1.0, 1.1 * rate), self.count, randomness)\n",
    ),
    mutant(
        "samples persons with rare rows more often",
        "P14",
        f"{SAMPLED}[None]",
        GRADIENTS,
        CHOSEN,
        CHOSEN
        + "        column = self.values[self.first, 0]\n"
        + "        chosen = chosen | (column == np.bincount(column).argmin())\n",
    ),
    mutant(
        "fills a sample in which nobody is",
        "P2",
        f"{KILLERS}::test_nobody_may_be_in_a_sample",
        GRADIENTS,
        CHOSEN,
        CHOSEN + "        if self.count and not chosen.any():\n            chosen[0] = True\n",
    ),
    mutant(
        "uses the randomness of the sample again for the noise",
        "P5, P6",
        f"{KILLERS}::test_no_word_of_the_coins_is_used_twice",
        GRADIENTS,
        NOISED,
        "kept = randomness.words(1 << 12)\n"
        '        again = type("Again", (), {"words": staticmethod(lambda count: kept[:count])})()\n'
        "        return add_noise(self.bounded(people, flat, multiplier, again), multiplier, again)",
    ),
)

_STEPS: tuple[Mutant, ...] = (
    mutant(
        "answers with the sum itself",
        "3.2 (a), P16",
        f"{NOISE}[0.5-30]",
        GRADIENTS,
        NOISED,
        "return Noised(self.bounded(people, flat, multiplier, randomness).values)",
    ),
    mutant(
        "skips the noise of a step whose sample is empty",
        "P2",
        f"{NOISE}[0.5-0]",
        GRADIENTS,
        NOISED,
        "bounded = self.bounded(people, flat, multiplier, randomness)\n"
        "        return add_noise(bounded, multiplier, randomness) if bounded.values.any() else Noised(bounded.values)",
    ),
    mutant(
        "adds floating-point noise and rounds",
        "P4",
        f"{CHARGED}[5.0-300-training]",
        GRADIENTS,
        NOISED,
        "bounded = self.bounded(people, flat, multiplier, randomness)\n"
        "        unit = np.random.default_rng(randomness.words(8)).normal(size=len(bounded.values))\n"
        "        return Noised(np.rint(bounded.values + multiplier * bounded.sensitivity * unit).astype(np.int64))",
    ),
    mutant(
        "draws units finer than the noise can be drawn for",
        "P30",
        f"{KILLERS}::test_the_grid_is_never_finer_than_the_noise_can_be_drawn_for",
        GRADIENTS,
        "return max(1, min(FINEST, math.floor(finest)))",
        "return FINEST",
    ),
    mutant(
        "draws a step's noise once for all steps",
        "P6",
        f"{CHARGED}[5.0-300-training]",
        TRAINING,
        STEPS + STEP,
        "        first = self.step.noised(people, begin, multiplier, randomness).values\n"
        "        noise = first - self.step.bounded(people, begin, multiplier, randomness).values\n"
        + STEPS
        + "            noised = Noised(self.step.bounded(people, parameters, multiplier, randomness).values + noise)\n",
    ),
    mutant(
        "takes as many steps as there are persons",
        "P13",
        f"{CHARGED}[5.0-0-training]",
        TRAINING,
        STEPS,
        "        for _ in range(min(self.steps, people.count)):\n",
    ),
    mutant(
        "stops early where the real gradient is short",
        "P20",
        f"{CHARGED}[5.0-0-training]",
        TRAINING,
        STEP,
        "            real = self.step.bounded(people, parameters, multiplier, randomness).values\n"
        "            if float((real.astype(float) ** 2).sum()) < 1.0:\n"
        "                break\n" + STEP,
    ),
    mutant(
        "uses the number of persons without noise",
        "P13",
        f"{CHARGED}[5.0-300-training]",
        TRAINING,
        "weight = self._noised_count(people, multiplier, randomness)",
        "weight = float(max(1, people.count))",
    ),
    mutant(
        "counts a step's sampling twice",
        "P24",
        f"{CHARGED}[5.0-300-training]",
        TRAINING,
        "Gaussian(self.step.effective_multiplier(multiplier), self.step.sampling_rate, self.steps)",
        "Gaussian(self.step.effective_multiplier(multiplier) / self.step.sampling_rate, self.step.sampling_rate, self.steps)",
    ),
    mutant(
        "accounts for rarer samples than it draws",
        "P1",
        f"{KILLERS}::test_samples_are_drawn_at_the_rate_that_is_accounted_for[sum]",
        GRADIENTS,
        "return (Gaussian(self.step.effective_multiplier(multiplier), self.step.sampling_rate),)",
        "return (Gaussian(self.step.effective_multiplier(multiplier), self.step.sampling_rate**2),)",
    ),
    mutant(
        "accounts in many steps for rarer samples than it draws",
        "P1",
        f"{KILLERS}::test_samples_are_drawn_at_the_rate_that_is_accounted_for[training]",
        TRAINING,
        "Gaussian(self.step.effective_multiplier(multiplier), self.step.sampling_rate, self.steps)",
        "Gaussian(self.step.effective_multiplier(multiplier), self.step.sampling_rate / self.steps, self.steps)",
    ),
    mutant(
        "counts a sample in the count of persons",
        "P1, P13",
        f"{KILLERS}::test_samples_are_drawn_at_the_rate_that_is_accounted_for[training]",
        TRAINING,
        "return (Gaussian(self._count_multiplier(multiplier)), step)",
        "return (Gaussian(self._count_multiplier(multiplier), self.step.sampling_rate), step)",
    ),
    mutant(
        "says that a sum of gradients reaches no further than one person",
        "P29",
        f"{QUERIES}::TestContract::test_no_sum_reaches_further_than_it_says[gradients, autoregressive]",
        GRADIENTS,
        "return 2 * persons * FINEST",
        "return 2 * FINEST",
    ),
    mutant(
        "counts one of an answer's steps",
        "P28",
        f"{CHARGED}[5.0-300-training]",
        TRAINING,
        "Gaussian(self.step.effective_multiplier(multiplier), self.step.sampling_rate, self.steps)",
        "Gaussian(self.step.effective_multiplier(multiplier), self.step.sampling_rate)",
    ),
    mutant(
        "does not count the count of persons",
        "P13",
        f"{CHARGED}[5.0-300-training]",
        TRAINING,
        "return (Gaussian(self._count_multiplier(multiplier)), step)",
        "return (step,)",
    ),
    mutant(
        "counts the noise of integers as if it were continuous",
        "P4, P31",
        f"{KILLERS}::test_a_steps_noise_is_worth_what_integers_leave",
        GRADIENTS,
        "return noise_multiplier(multiplier, self.sensitivity(multiplier), self.scales)",
        "return multiplier",
    ),
)

EXACT_MUTANTS = (*_EXACT, *_CLIP)
MUTANTS = (*_SUMS, *_SAMPLES, *_STEPS)
