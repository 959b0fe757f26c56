"""Draws surfaces by OpenGL without a screen: the picture and its exact buffers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .surface import GLASS, PARTS, Material, Strands, Surface, normals, welds

os.environ.setdefault("LP_NUM_THREADS", "1")  # several processes draw beside each other

SHADERS = Path(__file__).parent / "shaders"
MOST_LIGHTS = 16  # tiles of the shadow atlas, 4 x 4
SHADOW_PX = 512
FLAT = np.array([[[128, 128, 255]]], np.uint8)  # the relief of what has none
LABELS = [np.full((1, 1), label, np.uint8) for label in range(len(PARTS))]


@dataclass(frozen=True)
class Light:
    """Light from one direction that throws shadows."""

    direction: np.ndarray  # (3,) towards the light, camera space
    color: np.ndarray  # (3,) linear


@dataclass(frozen=True)
class Camera:
    """A camera that looks along -z at the point `target` from in front of it."""

    target: np.ndarray  # (3,) metres
    distance: float  # metres from the target
    height: float  # metres that the picture shows at the target, top to bottom
    roll: float = 0.0  # radians

    def matrix(self) -> np.ndarray:
        """World to clip space, (4, 4)."""
        near, far = self.distance - 0.6, self.distance + 1.0
        focal = 2 * self.distance / self.height
        project = np.zeros((4, 4))
        project[0, 0] = project[1, 1] = focal
        project[2, 2:] = -(far + near) / (far - near), -2 * far * near / (far - near)
        project[3, 2] = -1
        view = np.eye(4)
        c, s = np.cos(self.roll), np.sin(self.roll)
        view[:2, :2] = [[c, -s], [s, c]]
        shift = np.eye(4)
        shift[:3, 3] = -np.asarray(self.target) - (0, 0, self.distance)
        # The roll is about the line of sight, so it comes before the camera steps back.
        return project @ view @ shift

    def project(self, points: np.ndarray, size_px: int) -> np.ndarray:
        """Where points (n, 3) lie in the picture: (n, 2) pixels, x right, y down."""
        clip = np.c_[points, np.ones(len(points))] @ self.matrix().T
        ndc = clip[:, :2] / clip[:, 3:]
        return (ndc * (1, -1) + 1) / 2 * size_px


@dataclass(frozen=True)
class Posed:
    """A surface where this shot has it."""

    surface: Surface
    positions: np.ndarray  # (n, 3) float32
    normals: np.ndarray  # (n, 3) float32


@dataclass(frozen=True)
class PosedStrands:
    """Strands where this shot has them."""

    strands: Strands
    points: np.ndarray  # (s, k, 3) float32
    normals: np.ndarray  # (s, k, 3) float32


@dataclass(frozen=True)
class Drawn:
    """What comes back from the card, each (size_px, size_px, ...), row 0 at the top."""

    color: np.ndarray  # (.., 3) float32 linear light, 0 where nothing is
    albedo: np.ndarray  # (.., 3) float32 sRGB 0..1
    alpha: np.ndarray  # float32
    normal: np.ndarray  # (.., 3) float32
    depth: np.ndarray  # float32 metres from the camera, inf where nothing is
    parts: np.ndarray  # uint8
    flow: np.ndarray  # (.., 2) float32 direction of strands in the picture, x right, y down


class Renderer:
    """One OpenGL context; textures stay on the card until `forget`."""

    def __init__(self, size_px: int = 512) -> None:
        import moderngl

        self.gl = gl = moderngl.create_context(standalone=True, backend="egl")
        self.size_px = size_px
        self.program = self._program("surface")
        self.shadow_program = self._program("shadow")
        self.strand_program = self._program("strand")
        self.hair_program = self._program("hair")
        self.glass_program = self._program("surface", "glass")
        self.lit_programs = (
            *(self.program, self.strand_program),
            *(self.hair_program, self.glass_program),
        )
        size = (size_px, size_px)
        self.targets = [gl.texture(size, 4, dtype="f4") for _ in range(4)]
        self.strand_target = gl.texture(size, 4, dtype="f4")
        depth = gl.depth_renderbuffer(size)
        self.frame = gl.framebuffer(self.targets, depth)
        self.strand_frame = gl.framebuffer([self.strand_target, *self.targets[1:]], depth)
        self.hair_frame = gl.framebuffer(self.targets[:1])
        self.glass_frame = gl.framebuffer(self.targets[:1], depth)
        atlas = (4 * SHADOW_PX, 4 * SHADOW_PX)
        self.shadows = gl.depth_texture(atlas)
        self.shadows.compare_func = "<="
        self.shadow_frame = gl.framebuffer(depth_attachment=self.shadows)
        self.textures: dict[int, tuple] = {}
        self.lines: dict[int, tuple] = {}

    def _program(self, vertices: str, pixels: str = ""):
        shared = (SHADERS / "light.glsl").read_text()
        vertex = (SHADERS / f"{vertices}.vert").read_text()
        fragment = (SHADERS / f"{pixels or vertices}.frag").read_text()
        return self.gl.program(
            vertex_shader=vertex, fragment_shader=fragment.replace("#include light", shared)
        )

    def forget(self) -> None:
        """Release all textures: a person is done."""
        for _, *held in [*self.textures.values(), *self.lines.values()]:
            for each in held:
                each.release()
        self.textures.clear()
        self.lines.clear()

    def _textures(self, material: Material) -> tuple:
        """Colour, relief and labels of a material on the card."""
        labels = material.labels
        if not isinstance(labels, np.ndarray):
            labels = LABELS[labels]
        relief = FLAT if material.relief is None else material.relief
        return self._kept(material.color), self._kept(relief), self._kept(labels, smooth=False)

    def _kept(self, picture: np.ndarray, smooth: bool = True):
        """A picture as a texture, uploaded once however many materials share it."""
        if id(picture) not in self.textures:
            # The picture is held, so that its id is not given to another.
            self.textures[id(picture)] = (picture, self._texture(picture, smooth))
        return self.textures[id(picture)][1]

    def _texture(self, picture: np.ndarray, smooth: bool = True):
        height, width = picture.shape[:2]
        channels = picture.size // (height * width)
        data = np.ascontiguousarray(picture).tobytes()
        texture = self.gl.texture((width, height), channels, data, alignment=1)
        if smooth:
            texture.build_mipmaps()
            texture.filter = (self.gl.LINEAR_MIPMAP_LINEAR, self.gl.LINEAR)
        else:
            texture.filter = (self.gl.NEAREST, self.gl.NEAREST)
        texture.repeat_x = texture.repeat_y = True
        return texture

    def draw(
        self,
        posed: list[Posed | PosedStrands],
        camera: Camera,
        lights: list[Light],
        irradiance: np.ndarray,
    ) -> Drawn:
        """Draw surfaces and strands.

        lights: at most 16.  irradiance: (9, 3) spherical harmonics of what comes from all about,
            camera space, as `Place` has it.
        """
        gl, size = self.gl, self.size_px
        surfaces = [(p, *self._buffer(p)) for p in posed if isinstance(p, Posed)]
        strands = [(p, self._line_buffer(p)) for p in posed if isinstance(p, PosedStrands)]
        matrices = [_light_matrix(light, camera.target) for light in lights[:MOST_LIGHTS]]
        self._draw_shadows(surfaces, strands, matrices)
        values = {
            "view_projection": camera.matrix(),
            "to_world": np.linalg.inv(camera.matrix()),
            "eye": np.asarray(camera.target) + (0, 0, camera.distance),
            "light_count": len(matrices),
            "irradiance": irradiance,
            "light_direction": _padded([light.direction for light in lights], 3),
            "light_color": _padded([light.color for light in lights], 3),
            "light_matrix": np.stack(
                [m.T for m in matrices] + [np.eye(4)] * (MOST_LIGHTS - len(matrices))
            ),
            "shadows": 3,
        }
        for program in self.lit_programs:
            _give(program, **values)
        self.shadows.use(3)
        gl.enable(gl.DEPTH_TEST)
        for frame in (self.frame, self.strand_frame):
            frame.use()
            frame.clear()
        gl.viewport = (0, 0, size, size)
        # Strands first: what they hide need not be lit.
        for p, vertices in strands:
            self._draw_strands(p, vertices, size / camera.height)
        self.frame.use()
        for p, vertices, indices in surfaces:
            if p.surface.material.kind != GLASS:
                self._draw_one(self.program, p, vertices, indices)
        self._light_strands()
        self._draw_glass(surfaces)
        result = self._read(camera)
        for _, *buffers in [*surfaces, *strands]:
            for buffer in buffers:
                buffer.release()
        return result

    def _draw_one(self, program, p: Posed, vertices, indices) -> None:
        material = p.surface.material
        for unit, texture in enumerate(self._textures(material)):
            texture.use(unit)
        _give(
            program,
            color_map=0,
            relief_map=1,
            label_map=2,
            kind=material.kind,
            roughness=material.roughness,
            specular=material.specular,
            opacity=material.opacity,
            has_relief=material.relief is not None,
        )
        columns = [(vertices, "3f 3f 2f", "position", "normal", "uv")]
        array = self.gl.vertex_array(program, columns, indices, skip_errors=True)
        array.render()
        array.release()

    def _draw_strands(self, p: PosedStrands, vertices, px_per_metre: float) -> None:
        gl, strands = self.gl, p.strands
        tint, indices, _ = self._lines(strands)
        _give(
            self.strand_program,
            points=strands.points.shape[1],
            label=float(strands.label),
            shine=strands.shine,
        )
        array = gl.vertex_array(
            self.strand_program,
            [(vertices, "3f 3f 3f", "position", "tangent", "normal"), (tint, "4f1", "tint")],
            indices,
        )
        gl.line_width = max(1, round(strands.width * px_per_metre))
        array.render(gl.LINES)
        array.release()

    def _light_strands(self) -> None:
        gl, program = self.gl, self.hair_program
        maps = (self.strand_target, *self.targets[1:])
        for unit, texture in enumerate(maps, 4):
            texture.use(unit)
        _give(program, strand_map=4, albedo_map=5, normal_map=6, other_map=7)
        self.hair_frame.use()
        gl.disable(gl.DEPTH_TEST)
        array = gl.vertex_array(program, [])
        array.render(gl.TRIANGLES, vertices=3)
        array.release()

    def _draw_glass(self, surfaces: list) -> None:
        gl = self.gl
        self.glass_frame.use()
        self.glass_frame.depth_mask = False
        gl.enable(gl.DEPTH_TEST | gl.BLEND)
        gl.blend_func = gl.ONE, gl.ONE_MINUS_SRC_ALPHA
        for p, vertices, indices in surfaces:
            if p.surface.material.kind == GLASS:
                self._draw_one(self.glass_program, p, vertices, indices)
        gl.disable(gl.BLEND)

    def _draw_shadows(self, surfaces: list, strands: list, matrices: list[np.ndarray]) -> None:
        gl, program = self.gl, self.shadow_program
        self.shadow_frame.use()
        self.shadow_frame.clear()
        gl.enable(gl.DEPTH_TEST)
        arrays = []
        for p, vertices, indices in surfaces:
            if p.surface.material.kind != GLASS and "Teeth" not in p.surface.name:
                array = gl.vertex_array(program, [(vertices, "3f 20x", "position")], indices)
                arrays.append((array, gl.TRIANGLES))
        for p, vertices in strands:
            indices = self._lines(p.strands)[2]
            array = gl.vertex_array(program, [(vertices, "3f 24x", "position")], indices)
            arrays.append((array, gl.LINES))
        gl.line_width = 3
        for tile, matrix in enumerate(matrices):
            x, y = SHADOW_PX * (tile % 4), SHADOW_PX * (tile // 4)
            gl.viewport = (x, y, SHADOW_PX, SHADOW_PX)
            _give(program, view_projection=matrix)
            for array, mode in arrays:
                array.render(mode)
        for array, _ in arrays:
            array.release()

    def _buffer(self, p: Posed):
        data = np.concatenate((p.positions, p.normals, p.surface.uv), 1).astype("f4")
        return self.gl.buffer(data.tobytes()), self.gl.buffer(
            p.surface.triangles.astype("i4").tobytes()
        )

    def _line_buffer(self, p: PosedStrands):
        tangents = np.empty_like(p.points)
        tangents[:, :-1] = p.points[:, 1:] - p.points[:, :-1]
        tangents[:, -1] = tangents[:, -2]
        data = np.concatenate((p.points, tangents, p.normals), -1)
        return self.gl.buffer(data.astype("f4").tobytes())

    def _lines(self, strands: Strands) -> tuple:
        """Colours of strands, their segments, and those that throw shadows, on the card."""
        if id(strands) not in self.lines:
            count, k, _ = strands.points.shape
            tint = np.concatenate(
                (strands.color, np.uint8(255 * np.clip(strands.open, 0, 1))[..., None]), -1
            )
            index = np.arange(count * k, dtype="i4").reshape(count, k)
            few = index[:: strands.shadow_every, :: 2 if k > 6 else 1]
            self.lines[id(strands)] = (
                strands,  # held, so that its id is not given to another
                self.gl.buffer(tint.tobytes()),
                *(
                    self.gl.buffer(np.stack((i[:, :-1], i[:, 1:]), -1).tobytes())
                    for i in (index, few)
                ),
            )
        return self.lines[id(strands)][1:]

    def _read(self, camera: Camera) -> Drawn:
        size = self.size_px
        color, albedo, normal, other = (
            np.frombuffer(t.read(), np.float32).reshape(size, size, 4)[::-1] for t in self.targets
        )
        alpha = color[..., 3].copy()
        depth = np.where(alpha > 0, normal[..., 3], np.inf).astype(np.float32)
        flow = np.stack([other[..., 1], -other[..., 2]], -1)
        return Drawn(
            color=color[..., :3].copy(),
            albedo=albedo[..., :3].copy(),
            alpha=alpha,
            normal=normal[..., :3].copy(),
            depth=depth,
            parts=np.rint(other[..., 0]).astype(np.uint8),
            flow=flow,
        )


def pose_normals(surface: Surface, positions: np.ndarray) -> np.ndarray:
    """Normals of a surface whose points lie at `positions`, (n, 3)."""
    weld = welds(surface.positions) if surface.welds is None else surface.welds
    return normals(positions, surface.triangles, weld)


def _give(program, **values) -> None:
    """Set uniforms; those that a shader does not use are dropped by its compiler."""
    for name, value in values.items():
        if name not in program:
            continue
        if isinstance(value, np.ndarray):
            if value.shape == (4, 4):
                value = value.T
            program[name].write(np.ascontiguousarray(value, "f4").tobytes())
        else:
            program[name].value = value


def _padded(rows: list[np.ndarray], width: int) -> np.ndarray:
    filled = np.zeros((MOST_LIGHTS, width), np.float32)
    filled[: min(len(rows), MOST_LIGHTS)] = np.array(rows)[:MOST_LIGHTS]
    return filled


def _light_matrix(light: Light, target: np.ndarray) -> np.ndarray:
    """World to the clip space of a light, (4, 4): parallel light about head and shoulders."""
    forward = np.asarray(light.direction) / np.linalg.norm(light.direction)
    up = np.array([0, 1, 0]) if abs(forward[1]) < 0.95 else np.array([1, 0, 0])
    right = np.cross(up, forward)
    right /= np.linalg.norm(right)
    turn = np.eye(4)
    turn[:3, :3] = np.stack([right, np.cross(forward, right), forward])
    shift = np.eye(4)
    shift[:3, 3] = -np.asarray(target)
    scale = np.diag([1 / 0.34, 1 / 0.34, -1 / 0.6, 1])
    return scale @ turn @ shift
