#version 330
// Strands overlap many times over: here they leave what light needs to know, see hair.frag.
in vec3 at, at_tangent, at_normal;
in vec4 at_tint;
flat in float at_random;
uniform vec3 eye;
uniform float label, shine;
layout(location = 0) out vec4 out_strand;
layout(location = 1) out vec4 out_albedo;
layout(location = 2) out vec4 out_normal;
layout(location = 3) out vec4 out_other;

void main() {
    vec3 t = normalize(at_tangent + vec3(0, 1e-6, 0));
    out_strand = vec4(t, at_tint.a);
    out_albedo = vec4(at_tint.rgb, shine);
    out_normal = vec4(at_normal, eye.z - at.z);
    vec2 flow = dot(t.xy, t.xy) > 1e-8 ? normalize(t.xy) : vec2(0);
    out_other = vec4(label, flow, 2. + at_random);
}
