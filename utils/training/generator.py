"""Training of the generator and its discriminator (GHOST, IEEE Access 2022; FaceShifter, arXiv:1912.13457)."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from arcface_model.iresnet import IResNet
from utils.errors import InputError, OptionError
from utils.training import export, losses, validation
from utils.training.ahead import grouped, prepared, replayed
from utils.training.config import TrainConfig
from utils.training.distributed import can_compile, mean_over_processes, parallel, with_global_batch_norm
from utils.training.faces import Faces
from utils.training.graphs import Recorded
from utils.training.networks import (
    Critic,
    beginning,
    build_discriminator,
    build_generator,
    generator_arguments,
    load_eyes,
    load_faceres,
    load_identity,
    load_landmarks,
    load_sface,
    origin,
    what_changes,
)
from utils.training.optimise import Updater, learning_rate_factor, training_dtype
from utils.training.pairs import PairPlan, Share, batches
from utils.training.pasting import Pasting
from utils.training.prepare import Preparer
from utils.training.task import Task
from utils.training.terms import DiscriminatorTerms, GeneratorTerms, Judges, SwapBatch, as_pasted

_PENALTY_STEPS = 16  # steps between gradient penalties, which cost as much as a step (Karras et al., CVPR 2020, app. B)
_GROUP, _GROUP_PIXELS = 4, 256 * 128**2  # batches that a device prepares at once, and pixels of their targets, at most
_RUNNING_L_ADV = 20.0  # where --discr_force starts
_AT_ONCE, _LEAST = ("rec", "attr", "tone", "outside"), 0.002  # of --id_warmup: what has no part in it, where it starts


class GeneratorTask(Task[Callable[[], SwapBatch]]):
    """G and D, each with its updater."""

    def __init__(self, config: TrainConfig, faces: Faces, held: Faces, share: Share, device: torch.device) -> None:
        """faces: to train on; held: to validate on, may be empty. Raises OptionError, WeightsError, InputError."""
        self._config, self._faces, self._share = config, faces, share
        dtype = training_dtype(device, config.optim_level)
        self._encoder, self._identity_card = load_identity(config, device)
        self._judges = _judges(config, faces, self._encoder, device)
        self._build_networks(device, dtype)
        self._reals = "Xt" if config.source_novel else "Xs"  # as published, but invented people are not real
        self._pasting = Pasting.of(config)
        self._build_terms(device, dtype)
        self._record(device)
        self._running_L_adv = _RUNNING_L_ADV
        self._last_D: tuple[Tensor, ...] = ()  # L_D and the length of its gradient, once D has stepped
        self._plan = PairPlan(faces.identities, config.same_person, config.same_identity, config.seed)
        self._prepare = Preparer(config, faces, self._encoder, self._judges, share, device, dtype)
        self._users_encoder = export.UsersEncoder(config)
        self._validation = validation.SwapCheck(config, held, faces, self._judges, device, dtype)
        self.epoch_steps = max(len(faces) // share.step_samples, 1)

    def _build_networks(self, device: torch.device, dtype: torch.dtype) -> None:
        """G, D and, where it learns, the encoder, each with its updater."""
        config, c_id = self._config, self._encoder.num_features
        self._arguments = generator_arguments(config, c_id)
        self._D = self._placed(build_discriminator(config), device)
        G = self._placed(with_global_batch_norm(build_generator(config, c_id), device), device)
        self._G_updater = Updater(G, config, config.lr_G, dtype, ema=True)
        self._D_updater = Updater(self._D, config, config.lr_D, dtype, ema=False)
        self._E_updater = self._learner(dtype) if config.lr_identity else None

    def _build_terms(self, device: torch.device, dtype: torch.dtype) -> None:
        """The losses of both networks, compiled where that was asked for."""
        config = self._config
        E = None if self._E_updater is None else self._E_updater.network
        G_terms = GeneratorTerms(self._G_updater.network, self._D, self._judges, list(config.weights()), dtype,
                                 config.critic_blur, E, self._pasting, config.id_margin)
        D_terms = DiscriminatorTerms(self._D, dtype)
        if config.compile and can_compile(device):
            # A penalty on gradients is beyond the compiler.
            whole = (G_terms,) if config.weight_r1 else (G_terms, D_terms)
            for part in whole if device.type == "cuda" else (self._judges.critic.network,):
                part.compile()  # on a CPU the critic's thin layers alone gain, and compiled pooling of RGB may crash
        self._G_terms, self._D_terms = parallel(G_terms, device), parallel(D_terms, device)

    def _record(self, device: torch.device) -> None:
        """Make recordings of the two halves of a step, where one step's work is that of all others.

        Only there: they hold on to this task, which is to be gone before several processes part.
        """
        weights = self._config.weights()
        self._loss_weights = {name: torch.tensor(weight, device=device) for name, weight in weights.items()}
        self._recorded_G: Recorded | None = None
        self._recorded_D: dict[bool, Recorded] = {}  # by whether the gradient penalty is due
        if self._config.cuda_graphs and device.type == "cuda" and self._share.world == self._share.accumulate == 1:
            learning = [self._G_updater] if self._E_updater is None else [self._G_updater, self._E_updater]
            self._recorded_G = Recorded(self._generator_pass, [p for updater in learning for p in updater.parameters])
            pool = torch.cuda.graph_pool_handle()
            self._recorded_D = {due: Recorded(self._discriminator_pass_of(due), self._D_updater.parameters, pool)
                                for due in (False, True)}

    def _learner(self, dtype: torch.dtype) -> Updater:
        """A copy of the encoder that learns, while the first one goes on judging. Batch norms keep their statistics, so
        that embeddings keep their length."""
        if dtype == torch.float16:
            raise OptionError("--lr_identity needs bfloat16, which this GPU lacks, or float32: give --optim_level O0")
        learner = copy.deepcopy(self._encoder).requires_grad_(True)
        learner.features.weight.requires_grad_(False)
        return Updater(learner, self._config, self._config.lr_identity, dtype, ema=True)

    @property
    def _conditioning(self) -> nn.Module:
        """The encoder to measure and to export."""
        return self._encoder if self._E_updater is None else self._E_updater.best

    def _placed(self, network: nn.Module, device: torch.device) -> nn.Module:
        layout = torch.channels_last if self._config.channels_last else torch.contiguous_format
        return network.to(device, memory_format=layout)  # type: ignore[call-overload]

    def batches(self, steps: range) -> Iterator[Callable[[], SwapBatch]]:
        """See Task."""

        def fresh(numbers: range) -> Iterator[Callable[[], SwapBatch]]:
            device = self._G_updater.parameters[0].device
            pairs = batches(self._faces, self._plan, self._share, numbers, self._config.workers, device.type == "cuda")
            together = self._share.world > 1 and self._config.identity_blend > 0
            if device.type != "cuda" or together:
                yield from prepared(self._prepare, pairs, None)
                return
            for take in prepared(self._prepare.several, grouped(pairs, self._group()), device):
                yield from (partial(_itself, batch) for batch in take())

        return replayed(fresh, steps, self._config.teacher_reuse, self._share.accumulate, self._config.seed)

    def _group(self) -> int:
        """How many batches a device prepares as one. Blends are of identities of one batch."""
        alone = self._config.identity_blend > 0
        fitting = _GROUP_PIXELS // (self._share.batch_size * self._config.size**2)
        return 1 if alone else max(1, min(_GROUP, fitting))

    def step(self, parts: list[Callable[[], SwapBatch]], number: int) -> dict[str, Tensor]:
        """One update of G, then one of D where it is due."""
        factor = self._rate_factor(number)
        metrics, shown = self._generator_step(parts, number, factor)
        if self._discriminator_is_due(metrics.get("adv")):
            self._last_D = self._discriminator_step(shown)
        return {**metrics, **dict(zip(("D", "grad_D"), self._last_D, strict=False))}

    def _rate_factor(self, number: int) -> float:
        total = self._config.total_steps(self.epoch_steps)
        return learning_rate_factor(self._config, number, total, self.epoch_steps)

    def _grow(self, number: int) -> None:
        """Set the weights of the losses that come in slowly, by equal factors from step to step."""
        if number > self._config.id_warmup or not self._config.id_warmup:
            return
        share = _LEAST ** (1 - number / self._config.id_warmup)
        for name, weight in self._config.weights().items():
            if name not in _AT_ONCE:
                self._loss_weights[name].fill_(weight * share)

    def _generator_step(
        self, parts: list[Callable[[], SwapBatch]], number: int, factor: float
    ) -> tuple[dict[str, Tensor], list[tuple[Tensor, Tensor]]]:
        """Returns the metrics, and for every part what D is to be shown: generated and real faces."""
        sums: dict[str, Tensor] = {}
        shown = []
        self._D.requires_grad_(False)  # its gradients would cost time and be thrown away
        self._grow(number)
        for turn, take in enumerate(parts):
            batch = take()
            if self._config.diff_eq_same or number < self._config.rec_all_steps:
                batch = batch.counting_all()
            with self._unsynchronised(self._G_terms, turn):
                Y, metrics = (self._recorded_G or self._generator_pass)(batch)
            shown.append((as_pasted(Y, batch, self._pasting), getattr(batch, self._reals)))
            for name, value in {**metrics, "spread": _spread(Y, batch)}.items():
                sums[name] = sums.get(name, 0) + value / len(parts)
        self._D.requires_grad_(True)
        if self._E_updater is not None:
            sums["grad_E"] = self._E_updater.update(factor)
        return {**sums, "grad_G": self._G_updater.update(factor)}, shown

    def _generator_pass(self, batch: SwapBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Gradients of one part; returns the swaps and the losses."""
        Y, terms = self._G_terms(batch)
        loss = torch.stack([self._loss_weights[name] * value for name, value in terms.items()]).sum()
        self._G_updater.backward(loss / self._share.accumulate)
        return Y.detach(), {name: value.detach() for name, value in {**terms, "G": loss}.items()}

    def _unsynchronised(self, terms: nn.Module, turn: int) -> AbstractContextManager[Any]:
        """Gradients travel between processes only with the last part of a step."""
        if turn + 1 < self._share.accumulate and isinstance(terms, nn.parallel.DistributedDataParallel):
            return terms.no_sync()
        return nullcontext()

    def _discriminator_is_due(self, L_adv: Tensor | None) -> bool:
        if not self._config.discr_force or L_adv is None:
            return True
        value = float(mean_over_processes(L_adv))
        self._running_L_adv, due = losses.discriminator_is_due(self._running_L_adv, value)
        return due

    def _discriminator_step(self, shown: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Returns L_D and the length of its gradient."""
        # D's learning rate follows its own steps, of which --discr_force skips some.
        factor = self._rate_factor(self._D_updater.steps)
        total = torch.zeros((), device=shown[0][0].device)
        due = self._config.weight_r1 > 0 and self._D_updater.steps % _PENALTY_STEPS == 0
        run = self._recorded_D.get(due) or self._discriminator_pass_of(due)
        for turn, (Y, real) in enumerate(shown):
            with self._unsynchronised(self._D_terms, turn):
                total = total + run(Y, real) / len(shown)
        return total, self._D_updater.update(factor)

    def _discriminator_pass_of(self, due: bool) -> Callable[[Tensor, Tensor], Tensor]:
        """The pass of a step, with the gradient penalty where that is due."""
        return partial(self._discriminator_pass, weight_r1=self._config.weight_r1 * _PENALTY_STEPS if due else 0.0)

    def _discriminator_pass(self, Y: Tensor, real: Tensor, weight_r1: float) -> Tensor:
        """Gradients of one part; returns its L_D."""
        loss, penalty = self._D_terms(Y, real, weight_r1)
        self._D_updater.backward((loss + penalty) / self._share.accumulate)
        return loss.detach()

    def rates(self) -> dict[str, float]:
        """See Task."""
        updaters = {"lr_G": self._G_updater, "lr_D": self._D_updater, "lr_identity": self._E_updater}
        return {name: updater.current_rate for name, updater in updaters.items() if updater is not None}

    def validate(self) -> dict[str, float]:
        """See Task."""
        return self._validation.measure(self._G_updater.best, self._conditioning)

    def picture(self) -> np.ndarray | None:
        """Rows of sources, targets, swaps."""
        return self._validation.grid(self._G_updater.best, self._conditioning)

    def networks(self) -> dict[str, dict[str, Tensor]]:
        """See Task."""
        E = {} if self._E_updater is None else {"E": self._E_updater.best.state_dict()}
        return {"G": self._G_updater.best.state_dict(), "D": self._D.state_dict(), **E}

    @property
    def scaled(self) -> bool:
        """See Task."""
        return self._G_updater.scaled

    def encoder_digest(self) -> str:
        """A short name for the numbers of the encoder that judges, and that conditions where none learns."""
        return export.digest(self._encoder.state_dict())

    def card(self, origin: str) -> dict[str, Any]:
        """See Task."""
        encoder = self._users_encoder.sha256
        if self._E_updater is not None:
            content = export.half(self._E_updater.best.state_dict(), Path(self._config.identity))
            encoder = hashlib.sha256(content).hexdigest()
        return export.generator_card(self._config, self._arguments, origin, encoder)

    def export(self, folder: Path, origin: str) -> None:
        """G_latest.pth, D_latest.pth and the card; the identity encoder beside them where it is not a model by name."""
        networks = self.networks()
        export.write_generator(folder, self._config, networks, self.card(origin))
        self._users_encoder.lay_beside(folder)
        if "E" in networks:
            card = self._identity_card | self._validation.threshold(self._conditioning)
            card.pop("glasses", None)  # known of the encoder that it was
            export.write_identity(folder, self._config, networks["E"], card, origin)

    def state_dict(self) -> dict[str, Any]:
        """See Task."""
        E = {}
        if self._E_updater is not None:
            E = {"E": self._E_updater.state_dict(), "judge": self.encoder_digest()}
        return {"G": self._G_updater.state_dict(), "D": self._D_updater.state_dict(), **E,
                "running_L_adv": self._running_L_adv, "last_D": [float(x) for x in self._last_D]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See Task."""
        self._G_updater.load_state_dict(state["G"])
        self._D_updater.load_state_dict(state["D"])
        self._load_encoder(state)
        self._running_L_adv = state["running_L_adv"]
        device = self._D_updater.parameters[0].device
        self._last_D = tuple(torch.tensor(value, device=device) for value in state["last_D"])

    def _load_encoder(self, state: dict[str, Any]) -> None:
        """--lr_identity may begin at any time, but not end, and its judge stays the same."""
        if "E" not in state:
            return
        if self._E_updater is None:
            raise ValueError("its identity encoder learned: give --lr_identity")
        if state["judge"] != self.encoder_digest():
            raise ValueError("--identity is not the encoder that this run began with")
        self._E_updater.load_state_dict(state["E"])

    def origins(self) -> list[str]:
        """See Task."""
        config = self._config
        return [f"generator {origin(beginning(config, config.G_path))}", *what_changes(config),
                f"discriminator {origin(beginning(config, config.D_path))}"]

    def describe(self) -> list[str]:
        """See Task."""
        millions = {name: sum(t.numel() for t in state.values()) / 1e6 for name, state in self.networks().items()}
        return [
            f"{len(self._faces)} faces of {len(set(self._faces.identities))} people, stored at "
            f"{self._faces.framing.side} pixels" + (", in memory" if self._faces.images is not None else ""),
            f"generator {self._arguments}: {millions['G']:.1f} million parameters; discriminator: {millions['D']:.1f}",
            f"losses {self._config.weights()}",
            f"{self._share.step_samples} pairs a step, {self.epoch_steps} steps an epoch",
        ]


def _judges(config: TrainConfig, faces: Faces, encoder: IResNet, device: torch.device) -> Judges:
    """The frozen networks that the losses ask; encoder: the one that conditions. Raises InputError, WeightsError."""
    aligned = config.critic == "sface"
    appearance = load_faceres(config, device)
    if (aligned or appearance) and faces.kps is None:
        raise InputError(
            f"{config.dataset_path} has no index.csv with keypoints, which --critic sface, --weight_faceres and "
            "--weight_features need; cut the faces with preprocess_vgg.py"
        )
    on_crops = Critic(encoder, aligned=False, published=config.identity == TrainConfig.identity)
    critic = Critic(load_sface(config, device), aligned) if aligned else on_crops
    return Judges(critic, on_crops, load_landmarks(config, device), load_eyes(config, device), appearance)


def _itself(batch: SwapBatch) -> SwapBatch:
    return batch


@torch.no_grad()
def _spread(Y: Tensor, batch: SwapBatch) -> Tensor:
    """How much swaps differ among each other, against targets: near 0 when G has collapsed to one picture."""
    if len(Y) < 2:
        return torch.ones((), device=Y.device)
    return Y.detach().std(0).mean() / batch.Xt.std(0).mean().clamp(min=1e-6)
