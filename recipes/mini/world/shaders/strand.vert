#version 330
in vec3 position, tangent, normal;
in vec4 tint;
uniform mat4 view_projection;
uniform int points;  // of a strand
out vec3 at, at_tangent, at_normal;
out vec4 at_tint;
flat out float at_random;

void main() {
    at = position;
    at_tangent = tangent;
    at_normal = normal;
    at_tint = tint;
    at_random = fract(float(gl_VertexID / points) * .6180339887);
    gl_Position = view_projection * vec4(at, 1);
}
