# %% [markdown]
# # Radiance fields: cubes, order, encoding, early stop
#
# A radiance field is a scene that can be drawn from any side: a function that gives, for each
# point of a box, a density and a colour. Drawing means following a ray through each pixel and
# adding up what it meets. Nearly all of the box is empty, which is the second kind of sparsity
# this project builds hardware for, after RT-NeRF (ICCAD 2022).
#
# We draw one of the scenes that come with oleaster, count what that takes, and take the savings
# apart, one by one.

# %%
import os

import matplotlib.pyplot as plt
import numpy as np

from oleaster.models.nerf.fixed.render import fix_scene
from oleaster.models.nerf.render import psnr, render
from oleaster.models.nerf.scene import load_scene

SMALL = bool(os.environ.get("OLEASTER_SMALL"))  # the tests draw fewer pixels
SIDE = 24 if SMALL else 64

scene = load_scene("lego")
field = scene.field
camera = scene.views[0].camera.scaled(SIDE, SIDE)
print(scene.facts.origin)
print(f"lattice of {' x '.join(map(str, field.size))} points; image of {SIDE} x {SIDE} pixels")

# %% [markdown]
# ## 1. Walk cubes, not samples
#
# The plain way (TensoRF's) puts samples on each ray, half a lattice step apart, and asks for
# each whether its place is occupied. Ours turns the loops around: it walks the *cubes* between
# occupied lattice points, projects each to the pixels that can see it, and cuts their rays with
# it. Empty space is never looked at.

# %%
uniform = render(field, camera, "uniform", terminate=False)
cubes = render(field, camera, "cubes", terminate=False)
assert np.array_equal(
    uniform.image, cubes.image
)  # the same samples, so the same image, bit for bit

print(f"{'':<34}{'every sample':>14}{'cubes':>14}")
for name, meaning in {
    "candidates": "reads of the occupancy",
    "pixel_tests": "rays cut with cubes",
    "kept": "samples in occupied space",
    "colored": "of them, colours computed",
}.items():
    left, right = getattr(uniform.counters, name), getattr(cubes.counters, name)
    print(f"{meaning:<34}{left:>14,}{right:>14,}")

# %% [markdown]
# Both images are the same. Reading the occupancy is the line to watch: with samples it grows
# with the number of pixels, with cubes it does not grow at all, as a cube is read once, however
# many pixels see it.

# %%
growth = (800 / SIDE) ** 2
print(
    f"At 800 x 800 pixels: about {growth * uniform.counters.candidates:,.0f} reads for samples, "
    f"{cubes.counters.candidates:,} for cubes."
)

# %% [markdown]
# ## 2. Front to back, and stop early
#
# Cubes are walked so that no ray goes back: outwards from the camera's cell, axis by axis,
# without sorting. A pixel through which less than 1/10,000 of the light still passes takes no
# more samples. All that lies behind is skipped.

# %%
stopped = render(field, camera, "cubes")
saved = 1 - stopped.counters.density / cubes.counters.density
worst = np.abs(stopped.image - cubes.image).max()
print(
    f"densities computed: {cubes.counters.density:,}, then {stopped.counters.density:,}, "
    f"{saved:.0%} fewer"
)
print(f"largest change of a pixel: {worst:.1e} (1 is white)")

figure, axes = plt.subplots(figsize=(4.2, 3.6), layout="constrained")
shown = axes.imshow(stopped.opacity, cmap="viridis", vmin=0, vmax=1)
axes.set_title("opacity: where it is 1, rays stop early", loc="left", fontsize="medium")
axes.set_xlabel("pixel")
axes.set_ylabel("pixel")
figure.colorbar(shown, label="share of the light that stays in the scene")
plt.show()

# %% [markdown]
# ## 3. How the field is stored
#
# The field is a sum of products of planes and lines. Most of their values are zero: cells that
# no occupied cube projects on, and values that training did not need. Rows are cut in chunks,
# and each chunk is stored in whichever of three ways is smallest:
#
# - *dense*: all values, as codes;
# - *bitmap*: a bit for each value, and the values that are not zero;
# - *coordinates*: the place of each value that is not zero, and the value.

# %%
from oleaster.models.nerf.report import report, total

rows = report(scene.encoded)
everything = total(rows)
kinds = {
    "fp16, plain": everything.fp16_bits,
    "codes, all dense": everything.dense_bits,
    "all bitmaps": everything.bitmap_bits,
    "all coordinates": everything.coordinate_bits,
    "smallest for each chunk": everything.hybrid_bits,
}
figure, axes = plt.subplots(figsize=(7, 2.4), layout="constrained")
bars = axes.barh(list(kinds), [bits / 8e6 for bits in kinds.values()], color="#0072B2")
axes.bar_label(bars, fmt="{:.2f}", padding=3, fontsize="small")
axes.invert_yaxis()
axes.set_xlabel("size of the field in MB")
axes.margins(x=0.12)
axes.spines[["top", "right"]].set_visible(False)
plt.show()

zero = everything.zero_values / everything.values
print(f"{zero:.0%} of the values are zero")
for name in ("dense", "bitmap", "coordinate", "empty"):
    print(f"{getattr(everything, f'{name}_chunks'):>8,} chunks {name}")

# %% [markdown]
# Neither pure format wins everywhere, and that is why the hardware has two search units: one
# that answers bitmaps, one that answers coordinates.

# %%
planes = [row for row in rows if row.rows > 1]
figure, axes = plt.subplots(figsize=(7.5, 3), layout="constrained")
left = np.zeros(len(planes))
for kind, color in zip(
    ("empty", "coordinate", "bitmap", "dense"),
    ("#DDDDDD", "#56B4E9", "#E69F00", "#0072B2"),
    strict=True,
):
    counts = np.array([getattr(row, f"{kind}_chunks") for row in planes])
    shares = (
        100
        * counts
        / [r.empty_chunks + r.coordinate_chunks + r.bitmap_chunks + r.dense_chunks for r in planes]
    )
    axes.barh([row.name for row in planes], shares, left=left, color=color, label=kind)
    left += shares
axes.invert_yaxis()
axes.set_xlabel("chunks of each plane, in %")
axes.legend(ncols=4, fontsize="small", loc="upper left", bbox_to_anchor=(0, 1.18), frameon=False)
plt.show()

# %% [markdown]
# ## 4. In integers
#
# Hardware has no floats. The fixed-point renderer computes everything in integers, the small
# colour network in 8-bit outlier-victim pairs on the same array as in the other notebooks. Its
# image is the reference that the Verilog equals, pixel by pixel.

# %%
fixed = fix_scene(scene)

# %%
drawn = fixed.render(camera)
figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), layout="constrained")
difference = np.abs(drawn.image - stopped.image).max(axis=2)
for axes, image, name in zip(
    panels,
    (stopped.image, drawn.image, difference),
    ("float", "fixed point, ovp8", "difference"),
    strict=True,
):
    mapped = (
        axes.imshow(image, cmap="magma", vmin=0, vmax=0.1)
        if image.ndim == 2
        else axes.imshow(image)
    )
    axes.set_title(name, loc="left", fontsize="medium")
    axes.set_xlabel("pixel")
figure.colorbar(mapped, ax=panels[2], label="largest of the three colours")
panels[0].set_ylabel("pixel")
plt.show()
print(f"{psnr(drawn.image, stopped.image):.1f} dB between the two images")

# %% [markdown]
# ## 5. How long it takes in hardware
#
# The cycle model of the renderer counts the cycles of its Verilog. It says what an image takes
# on a design, and what stands in the way:

# %%
from oleaster.renderers import load_renderer
from oleaster.sim.nerf.renderer.simulate import simulate_designs

edge = load_renderer("rtnerf-edge")
(frame,) = simulate_designs(scene, fixed, camera, [edge], image=False)
print(f"{edge.title}")
print(f"{frame.cycles:,} cycles, {frame.fps:,.0f} images of this size a second")

figure, axes = plt.subplots(figsize=(7, 2.8), layout="constrained")
axes.barh(list(frame.busy), [100 * share for share in frame.busy.values()], color="#0072B2")
axes.invert_yaxis()
axes.set_xlim(0, 100)
axes.set_xlabel("cycles in which the stage moves on, in %")
axes.spines[["top", "right"]].set_visible(False)
plt.show()

# %% [markdown]
# In so small an image the unit that projects cubes works most, as each cube serves few pixels.
# `oleaster nerf simulate lego` draws 800 x 800, in half a minute; `docs/nerf-performance.md`
# explains the stages, and `oleaster reproduce rtnerf` sets eight scenes beside what the paper
# reports.
#
# Try `load_scene("ship")`, another view, or `order="octants"` in section 2: the image stays,
# the work changes.
