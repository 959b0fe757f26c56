#version 330
in vec3 at, at_normal;
in vec2 at_uv;
#include light
uniform sampler2D color_map;
uniform float opacity;
layout(location = 0) out vec4 out_color;

void main() {
    vec3 view = normalize(eye - at), n = unit_of(at_normal, view);
    if (dot(n, view) < 0.) n = -n;
    float f = .04 + .96 * pow(clamp(1. - dot(n, view), 0., 1.), 5.);
    vec3 mirrored = reflect(-view, n), color = f * ambient(mirrored);
    for (int i = 0; i < light_count; i++)
        color += f * light_color[i] * 4. * pow(max(0., dot(mirrored, light_direction[i])), 90.);
    out_color = vec4(color + opacity * to_linear(texture(color_map, at_uv).rgb) * ambient(n), opacity + f * (1. - opacity));
}
