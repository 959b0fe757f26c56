#version 330
in vec3 at, at_root, at_comb;
in float at_length, at_height;
#include strands

void main() {
    float shade;
    if (layers > 0 && (at_length < .0004 || !is_strand(at_root, at_root, at_comb, at_length, at_height, shade))) discard;
}
