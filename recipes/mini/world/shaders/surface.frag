#version 330
in vec3 at, at_normal;
in vec2 at_uv;
#include light
uniform sampler2D color_map, relief_map, label_map;
uniform int kind;
int what;  // kind, or cloth where the labels of a body say so
uniform bool has_relief;
uniform float roughness, specular;
layout(location = 0) out vec4 out_color;
layout(location = 1) out vec4 out_albedo;
layout(location = 2) out vec4 out_normal;
layout(location = 3) out vec4 out_other;
const int SKIN = 0, EYE = 1, CLOTH = 2;

float ggx(vec3 n, vec3 h, float r) {
    float a = r * r, d = max(dot(n, h), 0.);
    float k = d * d * (a * a - 1.) + 1.;
    return a * a / (3.14159 * k * k);
}

vec3 mapped(vec3 n) {
    if (!has_relief) return n;
    vec3 dx = dFdx(at), dy = dFdy(at);
    vec2 ux = dFdx(at_uv), uy = dFdy(at_uv);
    vec3 t = dx * uy.y - dy * ux.y;
    if (dot(t, t) < 1e-16) return n;
    t = unit_of(t - n * dot(n, t), vec3(0)) * sign(ux.x * uy.y - ux.y * uy.x);
    vec3 b = cross(n, t);
    vec3 m = texture(relief_map, at_uv).xyz * 2. - 1.;
    return unit_of(t * m.x + b * m.y + n * max(m.z, .2), n);
}

void main() {
    float label = texture(label_map, at_uv).r * 255.;
    what = kind == SKIN && label > 8.5 ? CLOTH : kind;
    vec3 view = normalize(eye - at), n0 = unit_of(at_normal, normalize(eye - at));
    if (dot(n0, view) < 0. && what == CLOTH) n0 = -n0;
    vec3 n = mapped(n0);
    vec3 srgb = texture(color_map, at_uv).rgb;
    vec3 albedo = to_linear(srgb);
    // Under skin light travels, red the farthest: each colour sees a smoother form than the last.
    vec3 nr = unit_of(mix(n, n0, .75), n0), ng = unit_of(mix(n, n0, .35), n0);
    // A body's cloth is dull whatever its skin is.
    float rough = what == CLOTH && kind == SKIN ? .9 : roughness, strength = what == CLOTH && kind == SKIN ? .22 : specular;
    vec3 wrap = what == SKIN ? vec3(.34, .16, .10) : what == CLOTH ? vec3(.16) : vec3(.05);
    vec3 diffuse = what == SKIN ? vec3(ambient(nr).r, ambient(ng).g, ambient(n).b) : ambient(n);
    vec3 shine = vec3(0);
    for (int i = 0; i < light_count; i++) {
        vec3 l = light_direction[i];
        float visible = reaches(i, at + n0 * .003, .0019);
        vec3 d = what == SKIN ? vec3(dot(nr, l), dot(ng, l), dot(n, l)) : vec3(dot(n, l));
        vec3 soft = max(vec3(0), (d + wrap) / (1. + wrap));
        // The edge of a shadow on skin is red.
        vec3 through = what == SKIN ? vec3(pow(visible, .75), visible, pow(visible, 1.1)) : vec3(visible);
        diffuse += light_color[i] * soft * through;
        vec3 h = normalize(l + view);
        if (d.x > 0.) {
            float f = .036 + .96 * pow(clamp(1. - dot(h, view), 0., 1.), 5.);
            float g = what == SKIN ? .72 * ggx(n, h, rough) + .28 * ggx(n, h, rough * .6) : ggx(n, h, rough);
            shine += light_color[i] * visible * strength * f * g * d.x * .8;
        }
    }
    vec3 color = albedo * diffuse + shine;
    if (what == EYE) color += .04 * ambient(reflect(-view, n0)) * specular;
    out_color = vec4(color, 1);
    out_albedo = vec4(srgb, 1);
    out_normal = vec4(n, eye.z - at.z);
    vec3 form = cross(n0, vec3(0, 0, 1));
    vec2 flow = dot(form.xy, form.xy) > 1e-8 ? normalize(form.xy) : vec2(0);
    out_other = vec4(label, flow, 1);
}
