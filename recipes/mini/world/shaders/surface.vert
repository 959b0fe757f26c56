#version 330
in vec3 position, normal;
in vec2 uv;
uniform mat4 view_projection;
out vec3 at, at_normal;
out vec2 at_uv;

void main() {
    at = position;
    at_normal = normal;
    at_uv = uv;
    gl_Position = view_projection * vec4(at, 1);
}
