import secrets
from collections.abc import Callable
from typing import Any

import pytest

from ganservice.artifacts import ArtifactStore
from ganservice.continuation import continued, differences
from ganservice.errors import ArtifactMissing, RequestError, SpecInvalid
from ganservice.job import Lease
from ganservice.recipe import MlpGenerator, Pictures
from ganservice.recipe.networks.dcgan import DcganDiscriminator
from ganservice.recipe.networks.stylegan2 import Stylegan2Generator
from ganservice.settings import Settings
from ganservice.spec import Checkpoints, TrainSpec
from ganservice.spec_file import dump_spec

Begin = Callable[..., Lease]


@pytest.fixture
def store(store_settings: Settings) -> ArtifactStore:
    return ArtifactStore(store_settings)


@pytest.fixture
def begin(store: ArtifactStore) -> Begin:
    """Makes a job that was started and wrote checkpoints at these images."""

    def make(spec: TrainSpec, *images: int) -> Lease:
        lease = Lease(job_id=f"tiny-{secrets.token_hex(6)}", attempt=1, token=1, lease_s=30.0, spec=spec)
        store.put_spec(lease.job_id, dump_spec(spec))
        for number in images:
            store.put_checkpoint(lease, number, f"weights at {number} of {lease.job_id}".encode())
        return lease

    return make


def changed(spec: TrainSpec, **recipe: Any) -> TrainSpec:
    return spec.model_copy(update={"recipe": spec.recipe.model_copy(update=recipe)})


def test_a_job_goes_on_from_the_checkpoint_that_was_asked_for(
    store: ArtifactStore, begin: Begin, spec: TrainSpec
) -> None:
    total = spec.total_images
    parent = begin(spec, total // 2, total)
    longer = spec.model_copy(update={"images": 2 * spec.images})
    for which, images in (("", total), ("final", total), (str(total // 2), total // 2)):
        start = continued(longer, store, parent.job_id, which, weights_only=False).start
        assert start
        assert (start.job_id, start.images, start.weights_only) == (parent.job_id, images, False)
        assert start.changes == {"images": (spec.images, 2 * spec.images)}
        assert store.objects.get(start.checkpoint) == f"weights at {images} of {parent.job_id}".encode()


def test_what_a_job_goes_on_from_outlives_the_retention_of_the_other(
    store: ArtifactStore, begin: Begin, spec: TrainSpec
) -> None:
    parent = begin(spec, 64, 128, 192)
    start = continued(spec, store, parent.job_id, "64", weights_only=True).start
    assert start
    store.prune(parent, Checkpoints(keep_last=1))
    assert 64 not in store.checkpoints(parent.job_id)
    assert store.objects.get(start.checkpoint)


def test_a_lineage_goes_back_to_its_root(store: ArtifactStore, begin: Begin, spec: TrainSpec) -> None:
    specs = [spec.model_copy(update={"images": length * spec.images}) for length in (1, 2, 3)]
    root = begin(specs[0], specs[0].total_images)
    second = continued(specs[1], store, root.job_id, "final", weights_only=False)
    parent = begin(second, specs[1].total_images)
    faster = changed(specs[2], optimiser_d=spec.recipe.optimiser_d.model_copy(update={"lr": 5e-5}))
    third = continued(faster, store, parent.job_id, "final", weights_only=False)
    assert third.start
    assert [link.job_id for link in third.start.lineage] == [parent.job_id, root.job_id]
    assert third.start.joins == [specs[0].total_images, specs[1].total_images]
    assert third.start.changes["recipe.optimiser_d.lr"] == (spec.recipe.optimiser_d.lr, 5e-5)
    # It survives the store and the queue.
    assert store.get_spec(begin(third).job_id) == third
    assert TrainSpec.model_validate_json(third.model_dump_json()) == third


def test_other_networks_are_refused_with_the_keys_that_differ(
    store: ArtifactStore, begin: Begin, spec: TrainSpec
) -> None:
    parent = begin(spec, 64)
    other = changed(spec, generator=MlpGenerator(kind="mlp", widths=(7,)), latent_size=spec.recipe.latent_size + 1)
    with pytest.raises(SpecInvalid) as refused:
        continued(other, store, parent.job_id, "", weights_only=False)
    assert "recipe.generator.widths" in str(refused.value)
    assert "recipe.latent_size" in str(refused.value)
    assert "optimiser" not in str(refused.value)
    assert str(refused.value).endswith("; --weights-only takes the weights that fit")
    start = continued(other, store, parent.job_id, "", weights_only=True).start
    assert start
    assert start.takes_what_fits
    alike = continued(spec, store, parent.job_id, "", weights_only=True).start
    assert alike
    assert not alike.takes_what_fits


def test_what_differs_is_written_as_in_a_spec(store: ArtifactStore, begin: Begin, spec: TrainSpec) -> None:
    data = Pictures(dataset="pets", image_size=28, channels=1)
    plain, normal = (
        changed(spec, data=data, discriminator=DcganDiscriminator(kind="dcgan", widths=(4, 4, 4), spectral_norm=norm))
        for norm in (False, True)
    )
    parent = begin(plain, 64)
    with pytest.raises(SpecInvalid, match=r"discriminator\.spectral_norm: false there, true here"):
        continued(normal, store, parent.job_id, "", weights_only=False)


def test_keys_by_which_no_weight_changes_are_no_other_networks(
    store: ArtifactStore, begin: Begin, spec: TrainSpec
) -> None:
    parent = begin(spec, 64)
    longer = spec.model_copy(update={"images": 10 * spec.images})
    less = changed(longer, discriminator=spec.recipe.discriminator.model_copy(update={"dropout": 0.1}))
    start = continued(less, store, parent.job_id, "", weights_only=False).start
    assert start
    assert start.changes["recipe.discriminator.dropout"] == (0.3, 0.1)


@pytest.mark.parametrize("weights_only", [False, True])
def test_weights_that_are_stored_by_another_scale_are_refused(
    store: ArtifactStore, begin: Begin, spec: TrainSpec, weights_only: bool
) -> None:
    data = Pictures(dataset="pets", image_size=16, channels=1)
    style = Stylegan2Generator(kind="stylegan2")
    parent = begin(changed(spec, data=data, generator=style), 64)
    faster = changed(spec, data=data, generator=style.model_copy(update={"mapping_lr_share": 0.1, "mixing": 0.5}))
    with pytest.raises(SpecInvalid) as refused:
        continued(faster, store, parent.job_id, "", weights_only=weights_only)
    assert str(refused.value) == (
        f"{parent.job_id} has its weights stored by another scale: recipe.generator.mapping_lr_share: 0.01 there, "
        "0.1 here; keep it by --set recipe.generator.mapping_lr_share=0.01"
    )


def test_other_data_of_the_same_name_is_a_change(store: ArtifactStore, begin: Begin, spec: TrainSpec) -> None:
    data = Pictures(dataset="pets", image_size=16, channels=1)
    specs = [changed(spec, data=data.model_copy(update={"digest": digit * 64})) for digit in "ab"]
    parent = begin(specs[0], spec.total_images)
    start = continued(specs[1], store, parent.job_id, "final", weights_only=True).start
    assert start
    assert start.changes == {"recipe.data.digest": ("a" * 64, "b" * 64)}


def test_images_go_on_counting(store: ArtifactStore, begin: Begin, spec: TrainSpec) -> None:
    parent = begin(spec, spec.total_images)
    with pytest.raises(SpecInvalid, match=rf"--set images={spec.total_images + spec.images}"):
        continued(spec, store, parent.job_id, "final", weights_only=False)
    # Steps of another size begin where the other job ended.
    longer = changed(spec.model_copy(update={"images": 100}), batch_size=16)
    longer = continued(longer, store, parent.job_id, "final", weights_only=False)
    assert (longer.first_images, longer.steps, longer.total_images) == (64, 3, 112)
    kept = set(store.objects.list_objects("starts/"))
    only_named = continued(longer, store, parent.job_id, "final", weights_only=False, keep=False)
    assert only_named.start
    assert only_named.start.checkpoint in store.checkpoint_keys(parent.job_id)
    assert set(store.objects.list_objects("starts/")) == kept
    anew = continued(spec, store, parent.job_id, "final", weights_only=True).start
    assert anew
    assert anew.joins == []


@pytest.mark.parametrize(
    ("which", "error", "says"),
    [
        ("final", ArtifactMissing, "not finished; its newest checkpoint is at 64 images"),
        ("63", ArtifactMissing, "keeps checkpoints at 64 images"),
        ("best", ArtifactMissing, "nothing of it was evaluated yet"),
        ("last", RequestError, "expected final, best or a number of images, such as 64"),
    ],
)
def test_a_checkpoint_that_is_not_there(
    store: ArtifactStore, begin: Begin, spec: TrainSpec, which: str, error: type[Exception], says: str
) -> None:
    longer = spec.model_copy(update={"images": 10**6})
    with pytest.raises(error, match=says):
        continued(longer, store, begin(longer, 64).job_id, which, weights_only=False)


def test_a_job_without_checkpoints_or_that_never_began(store: ArtifactStore, begin: Begin, spec: TrainSpec) -> None:
    with pytest.raises(ArtifactMissing, match="has no checkpoint"):
        continued(spec, store, begin(spec).job_id, "", weights_only=False)
    with pytest.raises(ArtifactMissing, match="never started"):
        continued(spec, store, "nobody-000000", "", weights_only=False)


def test_the_same_specs_have_no_differences(spec: TrainSpec) -> None:
    assert differences(spec, spec) == {}
    assert differences(spec, spec.model_copy(update={"seed": 1})) == {"seed": (0, 1)}
