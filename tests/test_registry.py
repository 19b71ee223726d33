"""Files of weights: found, loaded strictly, or refused with a message that helps."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from arcface_model.iresnet import iresnet
from network.AEI_Net import AEI_Net
from tests.random_weights import GENERATOR, IDENTITY, save
from utils import registry
from utils.errors import GhostError, OptionError, WeightsError
from utils.inference import pipeline
from utils.inference.config import InferenceConfig, parse
from utils.inference.stages import choose_generator, idle_looks, load_stages
from utils.weights_file import build, read_state


class Danger:
    """Runs a command when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.target}",)


@pytest.fixture
def folder(random_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private copy of the random weights, used as the weights folder."""
    path = tmp_path / "weights"
    shutil.copytree(random_weights, path)
    monkeypatch.setenv(registry.WEIGHTS_VARIABLE, str(path))
    return path


def generator_file(folder: Path) -> Path:
    return folder / "ghost_compact_generator.safetensors"


def light(path: Path, backbone: str, **arguments: Any) -> Path:
    """Save a state_dict of an architecture without its weight: tensors of stride 0, so the file is small."""
    with torch.device("meta"):
        shapes = AEI_Net(backbone, num_blocks=1, **arguments).state_dict()
    state = {name: torch.zeros(1, dtype=torch.float32).expand(t.shape) if t.is_floating_point() else
             torch.zeros(t.shape, dtype=t.dtype) for name, t in shapes.items()}
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published architecture."""
    return light(tmp_path_factory.mktemp("pth") / "G_linknet_1block.pth", "linknet", c_id=512)


def test_every_model_says_where_it_comes_from() -> None:
    for name, spec in registry.SPECS.items():
        assert spec.name == name and spec.places and spec.licence and spec.origin and spec.architecture
        assert spec.role in ("generator", "identity", "detector", "landmarks", "occlusion", "glasses", "enhancer")


def test_described_generator_builds_itself(folder: Path) -> None:
    loaded = registry.load_generator(generator_file(folder))
    assert loaded.network.size == GENERATOR["size"] and loaded.card["identity"] == "ghost_compact_identity"
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in loaded.network.parameters())
    assert not loaded.network.training
    y, _ = loaded.network(torch.zeros(1, 3, 64, 64), torch.zeros(1, 16))
    assert y.shape == (1, 3, 64, 64)


def test_weights_are_those_of_the_file(folder: Path) -> None:
    torch.manual_seed(0)
    network = AEI_Net(**GENERATOR)
    path = save(network, folder, "same", "AEI_Net", GENERATOR, crop_size=64, identity="x")
    loaded = registry.load_generator(path).network.state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.allclose(loaded[name], tensor, atol=1e-3)


def test_published_pth(published: Path) -> None:
    loaded = registry.load_generator(published, "linknet", 1)
    assert loaded.card["crop_size"] == 256 and loaded.card["identity"] == "arcface"


@pytest.mark.parametrize(("backbone", "blocks"), [("unet", 2), ("linknet", 3), ("resnet", 1)])
def test_wrong_options_name_the_right_ones(published: Path, backbone: str, blocks: int) -> None:
    with pytest.raises(OptionError, match="--backbone linknet --num_blocks 1, not") as caught:
        registry.load_generator(published, backbone, blocks)
    assert str(published) in str(caught.value)


@pytest.mark.parametrize("backbone", ["unet", "linknet", "resnet"])
@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_options_are_read_from_tensors(backbone: str, blocks: int) -> None:
    with torch.device("meta"):
        state = AEI_Net(backbone, num_blocks=blocks, c_id=512).state_dict()
    assert registry.generator_options(state) == (backbone, blocks)
    assert registry.generator_options({"fc.weight": torch.zeros(1)}) is None


@pytest.mark.parametrize("change", [{"width": 0.125}, {"c_id": 128}, {"size": 128}, {"size": 512}])
def test_a_generator_that_lost_its_json(change: dict, tmp_path: Path) -> None:
    path = light(tmp_path / "mine.pth", "unet", **{"c_id": 512, **change})
    for blocks in (1, 2):
        with pytest.raises(WeightsError, match=r"not the published sizes.* put the JSON .* there as mine\.json"):
            registry.load_generator(path, "unet", blocks)


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="download_models"):
        registry.load_generator(tmp_path / "G.pth")


def test_truncated_everywhere(folder: Path, tmp_path: Path) -> None:
    for path in (generator_file(folder), tmp_path / "a.pth"):
        if path.suffix == ".pth":
            torch.save({f"w{i}": torch.zeros(50, 50) for i in range(5)}, path)
        whole = path.read_bytes()
        for length in (0, 1, 7, 100, len(whole) // 2, len(whole) - 1):
            path.write_bytes(whole[:length])
            with pytest.raises(WeightsError) as caught:
                read_state(path)
            assert str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"hello", b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", bytes(500)])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_foreign_files(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="download it again"):
        read_state(path)


def test_an_onnx_file_is_not_read_as_weights(folder: Path) -> None:
    path = generator_file(folder).with_suffix(".onnx")  # as convert_weights.py leaves it beside the other and its JSON
    path.write_bytes(b"\x08\x08\x12\x07pytorch")
    with pytest.raises(WeightsError, match=r"\.onnx is an ONNX file.*give the \.safetensors or \.pth"):
        registry.load_generator(path)


@pytest.mark.parametrize("zipped", [True, False])
def test_malicious_file_does_nothing(tmp_path: Path, zipped: bool) -> None:
    path, trace = tmp_path / "evil.pth", tmp_path / "trace"
    if zipped:
        torch.save({"a": Danger(trace)}, path)
    else:
        path.write_bytes(pickle.dumps({"a": Danger(trace)}))
    with pytest.raises(WeightsError):
        read_state(path)
    assert not trace.exists()


def test_whole_modules_are_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    with pytest.raises(WeightsError, match="more than tensors"):
        read_state(tmp_path / "module.pth")


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"a": 3}, {}, torch.zeros(3)])
def test_not_a_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="state_dict"):
        read_state(tmp_path / "a.pth")


def test_a_small_file_of_a_huge_tensor_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(2**34)}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="claims to hold 17,179,869,184 values"):
        read_state(tmp_path / "a.pth")


@pytest.mark.parametrize("change", [
    {"tone": None}, {"max_yaw": "x"}, {"identity": "encoders/mine"}, {"identity": ["a"]}, {"crop_size": 96},
    {"arguments": GENERATOR | {"width": 1e999}}, {"arguments": GENERATOR | {"layers": 5}},
])
def test_facts_of_another_kind_are_refused(folder: Path, change: dict) -> None:
    card = json.loads((folder / "ghost_compact_generator.json").read_text())
    path = folder / "changed.safetensors"
    shutil.copy(folder / "ghost_compact_generator.safetensors", path)
    path.with_suffix(".json").write_text(json.dumps({**card, **change, "sha256": None}))
    with pytest.raises(WeightsError, match="changed"):
        registry.load_generator(path)


def test_names_and_shapes_are_strict(tmp_path: Path) -> None:
    good = torch.nn.Linear(3, 2).state_dict()
    for state, words in (({"weight": good["weight"]}, "bias is missing"),
                         ({name: tensor.long() for name, tensor in good.items()}, "does not fit"),
                         (good | {"more": good["bias"]}, "more is unknown"),
                         (good | {"bias": torch.zeros(5)}, r"bias is \(5,\), not \(2,\)")):
        with pytest.raises(WeightsError, match=words):
            build(lambda: torch.nn.Linear(3, 2), state, tmp_path / "x.pth", "a layer")


@pytest.mark.parametrize(("change", "words"), [
    ({"network": "os.system"}, "network 'os.system'"), ({"network": "LandmarkNet"}, "expected AEI_Net"),
    ({"format": 9}, "format 9"), ({"sha256": "0" * 64}, "sha256 differs"),
    ({"arguments": {"colour": 1}}, "cannot build"), ({"arguments": {"backbone": "vgg"}}, "cannot build"),
    ({"arguments": GENERATOR | {"num_blocks": 2}}, "does not hold"),
    ({"arguments": GENERATOR | {"width": 50.0}}, "does not hold"), ({"arguments": []}, "expected an object"),
])
def test_descriptions_that_do_not_fit(folder: Path, change: dict, words: str) -> None:
    card = generator_file(folder).with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | change))
    with pytest.raises(WeightsError, match=words):
        registry.load_generator(generator_file(folder))


@pytest.mark.parametrize("text", [None, "", "{", "[]"])
def test_description_missing_or_broken(folder: Path, text: str | None) -> None:
    card = generator_file(folder).with_suffix(".json")
    card.unlink() if text is None else card.write_text(text)
    with pytest.raises(WeightsError, match="json"):
        registry.load_generator(generator_file(folder))


def test_pair_is_never_mixed(folder: Path) -> None:
    card = generator_file(folder).with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"identity": "somebody_else"}))
    loaded = registry.load_generator(generator_file(folder))
    with pytest.raises(WeightsError, match="somebody_else"):
        registry.load_identity(loaded.card["identity"], beside=loaded.path)


def test_an_encoder_that_learned_with_its_generator_is_not_replaced_by_its_namesake(
    folder: Path, tmp_path: Path
) -> None:
    name, mine = "ghost_compact_identity", tmp_path / "mine"
    mine.mkdir()
    for suffix in (".safetensors", ".json"):
        shutil.copy(generator_file(folder).with_suffix(suffix), mine)
        shutil.copy(folder / f"{name}{suffix}", tmp_path)
    path = generator_file(mine)
    card, config = json.loads(path.with_suffix(".json").read_text()), InferenceConfig(device="cpu", G_path=str(path))
    installed = hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps({**card, "identity_sha256": installed}))
    assert load_stages(config).model("identity").file == str(folder / f"{name}.safetensors")
    path.with_suffix(".json").write_text(json.dumps({**card, "identity_sha256": "0" * 64}))
    with pytest.raises(WeightsError, match=f"another identity encoder than {folder}.*: put {name}.safetensors and"):
        load_stages(config)
    for suffix in (".safetensors", ".json"):
        shutil.move(tmp_path / f"{name}{suffix}", mine)
    assert load_stages(config).model("identity").file == str(mine / f"{name}.safetensors")


def test_encoder_of_another_length_is_refused(folder: Path) -> None:
    arguments = IDENTITY | {"num_features": 8}
    save(iresnet(**arguments), folder, "ghost_compact_identity", "iresnet", arguments, similarity_th=0.3)
    with pytest.raises(WeightsError, match=r"16-dimensional.* gives 8"):
        load_stages(InferenceConfig(device="cpu"))


def test_auto_takes_published_files_only_as_a_pair(folder: Path) -> None:
    (folder / "G_unet_2blocks.pth").touch()
    path, notes = choose_generator(InferenceConfig())
    assert path == generator_file(folder) and "backbone.pth is missing" in notes[0]
    (folder / "backbone.pth").touch()
    assert choose_generator(InferenceConfig()) == (folder / "G_unet_2blocks.pth", [])
    assert choose_generator(InferenceConfig(model="embedded"))[0] == generator_file(folder)


def test_a_default_that_somebody_wrote_is_no_default(folder: Path) -> None:
    written = parse(["--source_paths", "a", "--target_video", "b", "--G_path", "weights/G_unet_2blocks.pth"])
    default, asked = InferenceConfig(G_path="weights/G_unet_2blocks.pth"), folder / "G_unet_2blocks.pth"
    assert choose_generator(written) == (asked, []) and choose_generator(default) == (generator_file(folder), [])
    asked.touch()
    assert choose_generator(written) == (asked, []) and choose_generator(default)[0] == generator_file(folder)
    assert choose_generator(parse(["--source_paths", "a", "--target_video", "b"]))[0] == generator_file(folder)


def test_architecture_options_without_effect_are_said(folder: Path) -> None:
    def said(*words: str) -> list[str]:
        return load_stages(parse(["--source_paths", "a", "--target_video", "b", "--device", "cpu", *words])).notes

    rest = f"since {generator_file(folder)} is built as its JSON says (--backbone unet --num_blocks 1); --G_path " \
           "names another generator"
    assert said() == said("--num_blocks", "1", "--backbone", "unet") == []
    assert said("--num_blocks", "3", "--backbone", "linknet") == [
        f"without effect: --backbone linknet --num_blocks 3, {rest}"]
    assert said("--num_blocks", "2", "--G_path", str(generator_file(folder))) == [
        f"without effect: --num_blocks 2, {rest}"]
    assert load_stages(InferenceConfig(device="cpu", num_blocks=2)).notes == []
    assert load_stages(InferenceConfig(device="cpu", num_blocks=3)).notes == [f"without effect: --num_blocks 3, {rest}"]


def test_options_for_looks_without_effect_are_said(folder: Path) -> None:
    def said(*words: str) -> list[str]:
        options = parse(["--source_paths", "a", "--target_video", "b", "--device", "cpu", *words])
        return idle_looks(options, identity)

    identity = registry.load_identity(registry.EMBEDDED_IDENTITY, beside=generator_file(folder))
    none = ("--detail", "0", "--sharpen", "0")
    assert said("--detail", "1") == said("--use_sr", *none) == said("--glasses", "source") == []
    assert said("--use_sr", "--sharpen", "0.3", "--detail", "0.5", "--match_blur", "1") == [
        "without effect with --use_sr, which paints detail of its own and is to sharpen: --sharpen, --detail, "
        "--match_blur"]
    note = f"without effect: --glasses target, since nothing is known of glasses with {identity.path}"
    assert said("--glasses", "target") == [note]
    config = parse(["--source_paths", "a", "--target_video", "b", "--device", "cpu", "--glasses", "target"])
    assert load_stages(config).notes == [note]


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_precision_is_what_was_asked_for(folder: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.device.fastest_dtype", lambda device: torch.bfloat16)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    stages = pipeline.load_pipeline(device="cpu", precision=precision).stages
    wanted = "bfloat16" if precision == "auto" else "float32"
    assert stages.swapper.dtype == stages.summary().rpartition(" in ")[2] == wanted
    assert stages.landmarks._dtype == getattr(torch, stages.swapper.dtype)  # type: ignore[attr-defined]
    assert torch.backends.cudnn.allow_tf32 == (precision == "auto")
    with pytest.raises(OptionError, match="--precision"):
        pipeline.load_pipeline(precision="float16")


def test_nothing_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(registry.WEIGHTS_VARIABLE, str(tmp_path))
    with pytest.raises(GhostError, match="ghost_compact_generator"):
        choose_generator(InferenceConfig())
    assert registry.locate("centerface") is not None


def test_the_folder_of_the_environment_stands_for_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here / "weights", there):
        folder.mkdir(parents=True)
        (folder / "mine.pth").touch()
    monkeypatch.chdir(here)
    assert registry.resolve_file("weights/mine.pth") == Path("weights/mine.pth")
    monkeypatch.setenv(registry.WEIGHTS_VARIABLE, str(there))
    assert registry.resolve_file("weights/mine.pth") == there / "mine.pth"
    assert registry.resolve_file("weights/nowhere.pth") == there / "nowhere.pth"
    assert registry.resolve_file(str(here / "weights" / "mine.pth")) == here / "weights" / "mine.pth"


def test_a_model_keeps_its_name_however_its_path_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights" / "more").mkdir(parents=True)
    for folder in ("weights", str(tmp_path / "weights"), None):
        monkeypatch.setenv("GHOST_WEIGHTS", folder) if folder else monkeypatch.delenv("GHOST_WEIGHTS")
        place = Path("weights/more/..") if folder else registry.ROOT / "weights/../weights"
        assert registry.name_of(place / "G_unet_2blocks.pth") == "ghost_unet_2"
    assert registry.name_of(Path("weights/mine.pth")) == "mine"


def test_all_identity_encoders_but_the_published_one_see_the_mirror_image_too() -> None:
    names = (registry.PUBLISHED_IDENTITY, registry.EMBEDDED_IDENTITY, "mine")
    loaded = [registry.Loaded(torch.nn.Identity(), Path(name), name, {}) for name in names]
    assert [one.mirrored for one in loaded] == [False, True, True]


def test_options_beside_a_configuration_count(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[InferenceConfig] = []
    monkeypatch.setattr(pipeline, "load_stages", seen.append)
    monkeypatch.setattr(pipeline, "SwapPipeline", lambda stages, config: None)
    pipeline.load_pipeline(InferenceConfig(device="cpu", crop_size=128), device="auto", quiet=True)
    assert (seen[0].device, seen[0].crop_size, seen[0].quiet) == ("auto", 128, True)
    with pytest.raises(TypeError, match="use_srr"):
        pipeline.load_pipeline(InferenceConfig(), use_srr=True)
