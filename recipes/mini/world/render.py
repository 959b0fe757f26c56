"""Draws surfaces by OpenGL without a screen: the picture and its exact buffers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .surface import GLASS, PARTS, Material, Surface, normals, welds

os.environ.setdefault("LP_NUM_THREADS", "1")  # several processes draw beside each other

SHADERS = Path(__file__).parent / "shaders"
MOST_LIGHTS = 16  # tiles of the shadow atlas, 4 x 4
SHADOW_PX = 512
FLAT = np.array([[[128, 128, 255]]], np.uint8)  # the relief of what has none
LABELS = [np.full((1, 1), label, np.uint8) for label in range(len(PARTS))]
ATTRIBUTES = ("position", "normal", "uv", "root", "comb", "length")


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
    comb: np.ndarray | None = None  # (n, 3) float32, turned with the head


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
        size = (size_px, size_px)
        self.targets = [gl.texture(size, 4, dtype="f4") for _ in range(4)]
        self.frame = gl.framebuffer(self.targets, gl.depth_renderbuffer(size))
        atlas = (4 * SHADOW_PX, 4 * SHADOW_PX)
        self.shadows = gl.depth_texture(atlas)
        self.shadows.compare_func = "<="
        self.shadow_frame = gl.framebuffer(depth_attachment=self.shadows)
        self.textures: dict[int, tuple] = {}

    def _program(self, name: str):
        shared = (SHADERS / "strands.glsl").read_text()
        sources = [(SHADERS / f"{name}.{end}").read_text() for end in ("vert", "frag")]
        vertex, fragment = (s.replace("#include strands", shared) for s in sources)
        return self.gl.program(vertex_shader=vertex, fragment_shader=fragment)

    def forget(self) -> None:
        """Release all textures: a person is done."""
        for _, texture in self.textures.values():
            texture.release()
        self.textures.clear()

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
        self, posed: list[Posed], camera: Camera, lights: list[Light], irradiance: np.ndarray
    ) -> Drawn:
        """Draw surfaces.

        lights: at most 16.  irradiance: (9, 3) spherical harmonics of what comes from all about,
            camera space, as `Place` has it.
        """
        gl, size = self.gl, self.size_px
        buffers = [self._buffer(p) for p in posed]
        matrices = [_light_matrix(light, camera.target) for light in lights[:MOST_LIGHTS]]
        self._draw_shadows(posed, buffers, matrices)
        self.frame.use()
        self.frame.clear()
        gl.enable(gl.DEPTH_TEST)
        gl.viewport = (0, 0, size, size)
        program = self.program
        _give(
            program,
            view_projection=camera.matrix(),
            eye=np.asarray(camera.target) + (0, 0, camera.distance),
            light_count=len(matrices),
            irradiance=irradiance,
            light_direction=_padded([light.direction for light in lights], 3),
            light_color=_padded([light.color for light in lights], 3),
            light_matrix=np.stack(
                [m.T for m in matrices] + [np.eye(4)] * (MOST_LIGHTS - len(matrices))
            ),
        )
        program["shadows"].value = 3
        self.shadows.use(3)
        for p, (vertices, indices) in zip(posed, buffers, strict=True):
            if p.surface.material.kind != GLASS:
                self._draw_one(program, p, vertices, indices)
        result = self._read(camera)
        for vertices, indices in buffers:
            vertices.release()
            indices.release()
        return result

    def _draw_one(self, program, p: Posed, vertices, indices) -> None:
        material, strands = p.surface.material, p.surface.strands
        for unit, texture in enumerate(self._textures(material)):
            texture.use(unit)
        for unit, name in enumerate(("color_map", "relief_map", "label_map")):
            if name in program:
                program[name].value = unit
        _give(
            program,
            kind=material.kind,
            roughness=material.roughness,
            specular=material.specular,
            has_relief=material.relief is not None,
        )
        layers = _give_strands(program, strands)
        array = self.gl.vertex_array(
            program, [(vertices, "3f 3f 2f 3f 3f 1f", *ATTRIBUTES)], indices, skip_errors=True
        )
        array.render(instances=layers)
        array.release()

    def _draw_shadows(self, posed: list[Posed], buffers: list, matrices: list[np.ndarray]) -> None:
        gl, program = self.gl, self.shadow_program
        self.shadow_frame.use()
        self.shadow_frame.clear()
        gl.enable(gl.DEPTH_TEST)
        arrays = []
        for p, (vertices, indices) in zip(posed, buffers, strict=True):
            if p.surface.material.kind == GLASS or "Teeth" in p.surface.name:
                continue
            array = gl.vertex_array(
                program, [(vertices, "3f 3f 2f 3f 3f 1f", *ATTRIBUTES)], indices, skip_errors=True
            )
            arrays.append((p, array))
        for tile, matrix in enumerate(matrices):
            x, y = SHADOW_PX * (tile % 4), SHADOW_PX * (tile // 4)
            gl.viewport = (x, y, SHADOW_PX, SHADOW_PX)
            _give(program, view_projection=matrix)
            for p, array in arrays:
                layers = _give_strands(program, p.surface.strands, stride=4)
                array.render(instances=layers)
        for _, array in arrays:
            array.release()

    def _buffer(self, p: Posed):
        surface, strands = p.surface, p.surface.strands
        n = len(p.positions)
        comb = np.zeros((n, 3)) if p.comb is None else p.comb
        length = np.zeros((n, 1)) if strands is None else strands.length[:, None]
        columns = (p.positions, p.normals, surface.uv, surface.positions, comb, length)
        data = np.concatenate(columns, 1).astype("f4")
        return self.gl.buffer(data.tobytes()), self.gl.buffer(
            surface.triangles.astype("i4").tobytes()
        )

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


def _give_strands(program, strands, stride: int = 1) -> int:
    """Hand the strands' numbers to a program; how many layers are to be drawn."""
    if strands is None:
        _give(program, layers=0, stride=1)
        return 1
    layers = max(1, strands.layers // stride)
    _give(
        program,
        layers=layers,
        stride=stride,
        lie=strands.lie,
        width=strands.width,
        curl=strands.curl,
        clump=strands.clump,
        density=strands.density,
        droop=strands.droop,
        seed=strands.seed,
        tip=strands.tip,
    )
    return layers


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
