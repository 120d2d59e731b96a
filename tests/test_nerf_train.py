"""Training of fields: PyTorch against numpy, the schedule, resumed runs, teachers, meshes."""

from dataclasses import replace

import numpy as np
import pytest
from nerf_fields import blob_field, orbit_camera, random_field

from oleaster.cli import main
from oleaster.models.nerf.camera import look_at
from oleaster.models.nerf.field import Field, FieldError, Mask
from oleaster.models.nerf.files import load_field
from oleaster.models.nerf.render import psnr, render
from oleaster.models.nerf.train.mesh import Mesh, load_mesh
from oleaster.models.nerf.train.viewpoints import held_out_cameras, training_cameras
from oleaster.models.nerf.views import View

torch = pytest.importorskip("torch")

from oleaster.models.nerf.train.model import (  # noqa: E402
    Model,
    cropped,
    initial_field,
    resized,
    thinned,
)
from oleaster.models.nerf.train.schedule import Config  # noqa: E402
from oleaster.models.nerf.train.state import load_state, save_state  # noqa: E402
from oleaster.models.nerf.train.teacher import Teacher  # noqa: E402
from oleaster.models.nerf.train.trainer import fit, held_out_psnr  # noqa: E402

TINY = Config(
    iterations=240, voxels=24, density_components=2, color_components=3, batch=256, pruned=0.4
)


def arrays(field: Field) -> dict[str, np.ndarray]:
    names = ("density_planes", "density_lines", "color_planes", "color_lines", "weights", "biases")
    found = {f"{name}{i}": a for name in names for i, a in enumerate(getattr(field, name))}
    found |= {"box": field.box, "basis": field.basis}
    if field.mask is not None:
        found |= {"bits": field.mask.bits, "mask_box": field.mask.box}
    return found


def same(one: Field, other: Field) -> bool:
    a, b = arrays(one), arrays(other)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def two_balls(camera) -> View:
    """A red ball and a smaller blue one, lit from one side, seen exactly."""
    rays, eye = camera.directions(), camera.origin
    colors, nearest = np.ones_like(rays), np.full(len(rays), np.inf)
    for centre, radius, base in (
        ((0, 0, 0), 0.7, (0.9, 0.2, 0.1)),
        ((0.6, 0.5, 0.6), 0.35, (0.1, 0.3, 0.9)),
    ):
        to_eye = eye - np.float32(centre)
        along = rays @ to_eye
        root = along * along - (to_eye @ to_eye - radius * radius)
        t = np.where(root > 0, -along - np.sqrt(np.maximum(root, 0)), np.inf)
        hit = t < nearest
        nearest[hit] = t[hit]
        normal = (eye + t[hit, None] * rays[hit] - np.float32(centre)) / radius
        light = 0.6 + 0.4 * normal @ np.float32([0.3, 0.4, 0.866])
        colors[hit] = light[:, None].clip(0, 1) * np.float32(base)
    return View(camera, colors.reshape(camera.height, camera.width, 3).astype(np.float32))


@pytest.fixture(scope="module")
def balls():
    return [two_balls(c) for c in training_cameras(20, 24)], [
        two_balls(c) for c in held_out_cameras(3, 24)
    ]


@pytest.fixture(scope="module")
def trained(balls):
    torch.set_num_threads(1)
    reports = []
    field = fit(balls[0], TINY, progress=lambda *report: reports.append(report))
    return field, reports


def test_module_keeps_a_field():
    field = random_field(3)
    assert same(Model(field).to_field(), field)


@pytest.mark.parametrize("field", [random_field(4, mask_size=None), blob_field(24, 16)])
def test_module_renders_as_numpy_does(field):
    camera = orbit_camera(width=24, height=18)
    ours = render(field, camera, terminate=False).image
    assert ours.std() > 0.01
    np.testing.assert_allclose(Model(field).image(camera), ours, atol=1e-4)


@pytest.mark.parametrize("seed", range(5))
def test_module_is_occupied_where_numpy_is(seed):
    """Also outside a mask that is smaller than the field, within a cell and beyond."""
    rng = np.random.default_rng(seed)
    box = np.array([[-1, -2, 0.5], [1, 2, 1.5]], np.float32)
    mask = Mask(rng.random((3, 5, 9)) < 0.3, box)
    field = replace(random_field(seed), mask=mask)
    at = rng.integers(-32, 65, (3000, 3)).astype(np.float32) / 32
    points = box[0] + at * (box[1] - box[0])
    ours = field.occupied(points)
    assert 0 < ours.sum() < len(ours) / 4
    theirs = Model(field).occupied(torch.from_numpy(points)).numpy()
    np.testing.assert_array_equal(theirs, ours)


def test_camera_that_sees_nothing_is_white():
    away = look_at(np.array([0.0, -4, 0]), np.array([0.0, -8, 0]), width=4, height=4, focal=8)
    assert (Model(blob_field(16, 12)).image(away) == 1).all()


def test_training_learns_two_balls(balls, trained):
    field, reports = trained
    done, total, first = reports[0]
    assert (done, total) == (50, TINY.iterations)
    assert reports[-1][2] > first + 5
    scores = held_out_psnr(field, balls[1])
    assert np.mean(scores) > 19, scores
    view = balls[1][0]
    assert psnr(render(field, view.camera).image, view.image) == pytest.approx(scores[0], abs=0.01)
    # The box has shrunk to what is there, the mask lies on the lattice, and zeros have stayed.
    assert (field.box[0] > -1.5).all()
    assert (field.box[1] < 1.5).all()
    assert field.mask.size == field.size
    zeros = np.concatenate([(plane == 0).ravel() for plane in field.color_planes])
    assert zeros.mean() >= TINY.pruned


def test_resumed_run_is_the_same(balls, trained, tmp_path):
    checkpoint = tmp_path / "run"

    def stop(done, total, quality):
        if done >= 200:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(balls[0], TINY, checkpoint=checkpoint, progress=stop)
    field = fit(balls[0], TINY, checkpoint=checkpoint, resume=True)
    assert same(field, trained[0])
    with pytest.raises(FieldError, match="another run: seed 0 there, 1 here"):
        fit(balls[0], replace(TINY, seed=1), checkpoint=checkpoint, resume=True)
    whole = torch.load(checkpoint, weights_only=True)
    for change, message in (
        ({"device": "cuda"}, "of a run on cuda, not cpu"),
        ({"adam": {}}, "not a whole checkpoint"),
        ({"generator": torch.zeros(16, dtype=torch.uint8)}, "not a whole checkpoint"),
    ):
        torch.save(whole | change, checkpoint)
        with pytest.raises(FieldError, match=message):
            fit(balls[0], TINY, checkpoint=checkpoint, resume=True)


def test_checkpoints_that_are_not_ours(tmp_path):
    path = tmp_path / "run"
    with pytest.raises(FieldError, match="no such checkpoint"):
        load_state(path)
    save_state(path, random_field(5), iteration=3)
    field, rest = load_state(path)
    assert rest == {"iteration": 3}
    assert same(field, random_field(5))
    whole = path.read_bytes()
    for data in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(FieldError, match="not a whole checkpoint"):
            load_state(path)
    torch.save({"version": 1, "field": object}, path)  # a pickle that names code
    with pytest.raises(FieldError, match="not a whole checkpoint"):
        load_state(path)


def test_views_that_cannot_be_trained_on(balls):
    view = balls[0][0]
    bad = View(view.camera, np.full_like(view.image, np.nan))
    far = replace(view.camera, pose=view.camera.pose * np.float32([1, 1, 1, 50]))
    for views, message in (
        ([], "no views"),
        ([view, two_balls(view.camera.scaled(8, 8))], "must be alike"),
        ([bad], "NaN"),
        ([View(far, view.image)], "sees the field's box"),
    ):
        with pytest.raises(FieldError, match=message):
            fit(views, TINY)


def test_schedule_is_tensorfs_at_full_length():
    config = Config(iterations=30_000, voxels=300)
    assert config.first_voxels == 128
    assert list(config.refinements) == [2000, 3000, 4000, 5500, 7000]
    # rtnerf.md 8.4: 3.50 M, 5.83 M, 9.72 M, 16.2 M, 27.0 M points
    millions = [round(n / 1e6, 2) for n in config.refinements.values()]
    assert millions == [3.5, 5.83, 9.72, 16.2, 27.0]
    assert [i for i, by_sight in config.masks.items() if not by_sight] == [2000, 4000]
    assert config.rate(30_000, 0) == pytest.approx(0.1)
    assert config.rate(7000, 7000) == 1
    short = Config(iterations=150)
    assert min(short.masks) == 100
    assert max(short.refinements) < short.prunes_at
    box = np.float32([[-1, -1, -1], [1, 1, 3]])
    assert Config().size(box, 2 * 10**3) == (10, 10, 20)
    with pytest.raises(FieldError, match=r"voxels is 4; it must be 8 \.\. 512"):
        Config(voxels=4)


def test_cropped_field_is_the_same_inside():
    field = random_field(6, size=(9, 8, 7), mask_size=None)
    bits = np.zeros((7, 8, 9), bool)
    bits[2:5, 1:7, 3:6] = True
    small = cropped(replace(field, mask=Mask(bits, field.box)))
    assert small.size == (3, 6, 3)
    assert small.mask.bits.all()
    points = np.random.default_rng(0).uniform(*small.box, (50, 3)).astype(np.float32)
    np.testing.assert_allclose(small.density(points), field.density(points), atol=1e-4)
    np.testing.assert_allclose(small.features(points), field.features(points), atol=1e-3)


def test_resized_field_keeps_its_old_points():
    field = random_field(7, size=(5, 4, 3), mask_size=None)
    large = resized(field, (9, 7, 5))
    z, y, x = np.meshgrid(*(np.arange(n) for n in (3, 4, 5)), indexing="ij")
    at = np.stack([x, y, z], axis=-1).reshape(-1, 3) / [4, 3, 2]
    points = (field.box[0] + at * (field.box[1] - field.box[0])).astype(np.float32)
    points = points.clip(*field.box)
    np.testing.assert_allclose(large.density(points), field.density(points), atol=1e-4)


def test_thinned_field_loses_the_smallest_values():
    field = initial_field(
        np.float32([[-1] * 3, [1] * 3]), (9, 9, 9), density_components=2, color_components=3
    )
    thin = thinned(field, 0.75)
    for planes in (thin.density_planes, thin.color_planes):
        values = np.concatenate([plane.ravel() for plane in planes])
        assert (values == 0).mean() == pytest.approx(0.75, abs=0.01)


def test_mask_leaves_out_what_no_ray_sees():
    model = Model(blob_field(40, 40))
    before = model.mask.bits
    camera = orbit_camera(width=60, height=60)
    rays = torch.from_numpy(camera.directions())
    eye = torch.from_numpy(camera.origin.copy()).expand_as(rays)
    model.renew_mask(model.seen(eye, rays))
    after = model.mask.bits
    assert 0 < after.sum() < 0.9 * before.sum()
    assert not (after & ~before).any()
    np.testing.assert_allclose(
        model.image(camera), Model(blob_field(40, 40)).image(camera), atol=0.02
    )


def teacher_arrays(seed=0):
    rng = np.random.default_rng(seed)
    shapes = {
        "layer1": (128, 63), "layers_xyz.0": (128, 128), "layers_xyz.1": (128, 128),
        "layers_xyz.2": (128, 128), "fc_alpha": (1, 128), "fc_feat": (128, 128),
        "layers_dir.0": (64, 155), "fc_rgb": (3, 64),
    }  # fmt: skip
    found = {}
    for kind in ("coarse", "fine"):
        for name, shape in shapes.items():
            scale = 1.5 / np.sqrt(shape[1])
            found[f"{kind}.{name}.weight"] = rng.normal(0, scale, shape).astype(np.float32)
            found[f"{kind}.{name}.bias"] = np.zeros(shape[0], np.float32)
    return found


def test_teacher_with_a_flat_density_is_fog(tmp_path):
    values = teacher_arrays()
    for kind in ("coarse", "fine"):
        values[f"{kind}.fc_alpha.weight"] *= 0
        values[f"{kind}.fc_rgb.weight"] *= 0
        values[f"{kind}.fc_alpha.bias"][:] = 0.3
        values[f"{kind}.fc_rgb.bias"][:] = [5, 0, -5]
    np.savez(tmp_path / "fog.npz", **values)
    image = Teacher.load(tmp_path / "fog.npz").image(training_cameras(1, 6)[0])
    # The last sample is opaque (its step is 1e10), so nothing of the white background passes.
    np.testing.assert_allclose(image[0, 0], 1 / (1 + np.exp([-5.0, 0, 5])), atol=1e-3)
    for kind in ("coarse", "fine"):
        values[f"{kind}.fc_alpha.bias"][:] = -1
    np.savez(tmp_path / "clear.npz", **values)
    assert Teacher.load(tmp_path / "clear.npz").image(training_cameras(1, 6)[0]) == pytest.approx(1)


def test_teacher_files_that_are_not(tmp_path):
    path = tmp_path / "teacher.npz"
    with pytest.raises(FieldError, match="no such file"):
        Teacher.load(path)
    path.write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(FieldError, match=r"whole \.npz"):
        Teacher.load(path)
    values = teacher_arrays()
    np.savez(path, **{**values, "fine.fc_rgb.bias": np.float32([1, np.nan, 0])})
    with pytest.raises(FieldError, match=r"fine\.fc_rgb\.bias"):
        Teacher.load(path)
    np.savez(path, **{**values, "fine.fc_rgb.bias": np.array(["a", "b", "c"])})
    with pytest.raises(FieldError, match=r"fine\.fc_rgb\.bias is <U1 .*must be floats"):
        Teacher.load(path)
    np.savez(path, **{**values, "fine.fc_rgb.bias": np.array([1e300, 0, 0])})
    with pytest.raises(FieldError, match=r"fine\.fc_rgb\.bias holds NaN or infinity"):
        Teacher.load(path)
    del values["coarse.layer1.bias"]
    np.savez(path, **values)
    with pytest.raises(FieldError, match=r"coarse\.layer1\.bias"):
        Teacher.load(path)


CUBE = """
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
v 0 0 1
v 1 0 1
v 1 1 1
v 0 1 1
vt 0.25 0.5
vt 0.75 0.5
f 1/1 4/1 3/1 2/1
f 5/2 6/2 7/2 8/2
f 1/1 2/1 6/1 5/1
f 3/1 4/1 8/1 7/1
f 1/1 5/1 8/1 4/1
f 2/1 3/1 7/1 6/1
"""


@pytest.fixture
def cube(tmp_path) -> Mesh:
    image = pytest.importorskip("PIL.Image")
    (tmp_path / "cube.obj").write_text(CUBE)
    image.fromarray(np.uint8([[[255, 0, 0], [0, 0, 255]]])).save(tmp_path / "colors.png")
    return load_mesh(tmp_path / "cube.obj", tmp_path / "colors.png")


def test_mesh_is_where_the_camera_sees_it(cube):
    # y is up in the file, so its z = 1 face (blue) looks along our -y.
    edge = 2 * 1.15 / np.sqrt(3)
    camera = look_at(np.array([0.0, -4, 0]), np.zeros(3), width=80, height=60, focal=100.0)
    image = cube.image(camera)
    rows, columns = np.nonzero((image < 0.99).any(axis=2))
    half = 100 * edge / 2 / (4 - edge / 2)
    assert (columns.min(), columns.max() + 1) == pytest.approx((40 - half, 40 + half), abs=1)
    assert (rows.min(), rows.max() + 1) == pytest.approx((30 - half, 30 + half), abs=1)
    assert image[30, 40, 2] > 0.3 > image[30, 40, 0]
    behind = look_at(np.array([0.0, 4, 0]), np.zeros(3), width=80, height=60, focal=100.0)
    found = cube.image(behind)[30, 40]
    assert found[0] > 0.3 > found[2]


def test_meshes_that_cannot_be_read(cube, tmp_path):
    with pytest.raises(FieldError, match="inside the mesh"):
        cube.image(look_at(np.zeros(3), np.ones(3), width=4, height=4, focal=4.0))
    colors = tmp_path / "colors.png"
    for text, message in (
        ("v 0 0 0\n", "no faces"),
        ("v a b c\n", "not an OBJ"),
        (CUBE + "f 1/1 2/1 99/1\n", "not there"),
    ):
        (tmp_path / "bad.obj").write_text(text)
        with pytest.raises(FieldError, match=message):
            load_mesh(tmp_path / "bad.obj", colors)
    with pytest.raises(FieldError, match="cannot be read"):
        load_mesh(tmp_path / "none.obj", colors)
    colors.write_bytes(b"text")
    with pytest.raises(FieldError, match="not an image"):
        load_mesh(tmp_path / "cube.obj", colors)


def test_train_verb(tmp_path, capsys):
    np.savez(tmp_path / "teacher.npz", **teacher_arrays())
    field = tmp_path / "field.npz"
    size = ["--size", "8", "--count", "3", "--voxels", "8", "--components", "1,1"]
    command = ["nerf", "train", "--teacher", str(tmp_path / "teacher.npz"), "-o", str(field), *size]
    assert main([*command, "--iterations", "2", "--json"]) == 0
    assert '"mean_psnr_db"' in capsys.readouterr().out
    assert load_field(field).size == (8, 8, 8)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["field.npz", "teacher.npz"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give one of --views, --teacher and --mesh"),
        (["--mesh", "duck", "--teacher", "x"], "give one of"),
        (["--mesh", "cow"], "no mesh 'cow': known are duck, ball"),
        (["--mesh", "duck", "-o", "duck.png"], "duck.png: the name after -o ends in .npz"),
        (["--mesh", "duck", "--resume"], "field.npz.run: no such checkpoint"),
        (["--teacher", "none.npz"], "none.npz: no such file"),
        (["--views", "."], "transforms_train.json"),
        (["--teacher", "none.npz", "--components", "4"], "expected two numbers"),
        (["--teacher", "none.npz", "--device", "moon"], "--device moon: expected cpu, cuda, mps"),
        (["--teacher", "none.npz", "--device", "meta"], "--device meta: expected cpu"),
        (["--teacher", "none.npz", "--device", "cuda:99"], "PyTorch cannot use it here"),
        (["--teacher", "none.npz", "--seed", "-1"], "seed is -1; it must be 0 .. "),
        (["--teacher", "none.npz", "--iterations", "0"], "iterations is 0"),
    ],
)
def test_train_verb_says_what_is_wrong(words, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["nerf", "train", "-o", "field.npz", *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
