#version 330
in vec3 position, normal, root, comb;
in vec2 uv;
in float length;
uniform mat4 view_projection;
#include strands
out vec3 at, at_root, at_comb;
out float at_length, at_height;

void main() {
    at_height = layers == 0 ? 0. : float(gl_InstanceID * stride + 1) / float(layers * stride);
    at = layers == 0 ? position : grown(position, normal, comb, length, at_height);
    at_root = root;
    at_comb = comb;
    at_length = length;
    gl_Position = view_projection * vec4(at, 1);
}
