#version 330
// Lights the strands that are seen.
in vec2 at;
#include light
uniform sampler2D strand_map, albedo_map, normal_map, other_map;
uniform mat4 to_world;  // from clip space
layout(location = 0) out vec4 out_color;

void main() {
    ivec2 pixel = ivec2(gl_FragCoord.xy);
    vec4 other = texelFetch(other_map, pixel, 0);
    if (other.a < 1.5) discard;
    vec4 strand = texelFetch(strand_map, pixel, 0), form = texelFetch(normal_map, pixel, 0);
    vec4 paint = texelFetch(albedo_map, pixel, 0);
    vec4 a = to_world * vec4(at, -1, 1), b = to_world * vec4(at, 1, 1);
    vec3 ray = b.xyz / b.w - a.xyz / a.w;
    vec3 p = eye + ray * (form.w / -ray.z), view = normalize(eye - p);
    vec3 t = strand.xyz, n = unit_of(form.xyz, view), albedo = to_linear(paint.rgb);
    float open = strand.w, random = other.a - 2.5;
    // The part of the normal across the strand, so that locks have sides.
    vec3 across = unit_of(n - .85 * t * dot(n, t), n);
    vec3 diffuse = ambient(across) * open, shine = vec3(0);
    // Marschner and others 2003, "Light scattering from human hair fibers": a white highlight
    // towards the root, a coloured one towards the tip.
    vec3 white_t = normalize(t + (.10 + .16 * random) * across);
    vec3 color_t = normalize(t - (.12 - .16 * random) * across);
    for (int i = 0; i < light_count; i++) {
        vec3 l = light_direction[i];
        // Light goes some way into hair: what stands farther before it counts more.
        float visible = .35 * reaches(i, p, .004) + .35 * reaches(i, p, .012) + .3 * reaches(i, p, .026);
        float side = dot(across, l), tl = dot(t, l);
        float body = mix(sqrt(max(0., 1. - tl * tl)), 1., .3) * clamp((side + .45) / 1.45, 0., 1.);
        diffuse += light_color[i] * body * visible * mix(.45, 1., open);
        vec3 h = normalize(l + view);
        float w = dot(white_t, h), c = dot(color_t, h), facing = clamp(side + .35, 0., 1.);
        shine += light_color[i] * visible * facing * paint.a * open
            * (.055 * pow(max(0., 1. - w * w), 55.) + .9 * albedo * pow(max(0., 1. - c * c), 14.));
    }
    out_color = vec4(albedo * diffuse + shine, 1);
}
