#version 330
in vec3 at, at_normal, at_root, at_comb;
in vec2 at_uv;
in float at_length, at_height;
#include strands
uniform sampler2D color_map, relief_map, label_map;
uniform sampler2DShadow shadows;
uniform int kind, light_count;
int what;  // kind, or cloth where the labels of a body say so
uniform bool has_relief;
uniform float roughness, specular;
uniform vec3 eye, irradiance[9];
uniform vec3 light_direction[16], light_color[16];
uniform mat4 light_matrix[16];
layout(location = 0) out vec4 out_color;
layout(location = 1) out vec4 out_albedo;
layout(location = 2) out vec4 out_normal;
layout(location = 3) out vec4 out_other;
const int SKIN = 0, EYE = 1, CLOTH = 2, HAIR = 3;

vec3 linear(vec3 c) { return mix(c / 12.92, pow((c + .055) / 1.055, vec3(2.4)), step(.04045, c)); }

// Ramamoorthi and Hanrahan 2001, "An efficient representation for irradiance environment maps".
vec3 ambient(vec3 n) {
    return max(vec3(0), .282095 * irradiance[0] + .488603 * (irradiance[1] * n.y + irradiance[2] * n.z + irradiance[3] * n.x)
        + 1.092548 * (irradiance[4] * n.x * n.y + irradiance[5] * n.y * n.z + irradiance[7] * n.x * n.z)
        + .315392 * irradiance[6] * (3. * n.z * n.z - 1.) + .546274 * irradiance[8] * (n.x * n.x - n.y * n.y));
}

float lit(int i, vec3 n) {
    vec4 p = light_matrix[i] * vec4(at + n * .003, 1);
    vec3 c = p.xyz / p.w * .5 + .5;
    if (any(lessThan(c, vec3(0))) || any(greaterThan(c, vec3(1)))) return 1.;
    // One tap, filtered: that shadows are soft comes from many lights.
    vec2 tile = vec2(i % 4, i / 4);
    return texture(shadows, vec3((clamp(c.xy, .002, .998) + tile) / 4., c.z - .0016));
}

float ggx(vec3 n, vec3 h, float r) {
    float a = r * r, d = max(dot(n, h), 0.);
    float k = d * d * (a * a - 1.) + 1.;
    return a * a / (3.14159 * k * k);
}

vec3 unit(vec3 v, vec3 otherwise) {
    float size = dot(v, v);
    return size > 1e-12 ? v * inversesqrt(size) : otherwise;
}

vec3 mapped(vec3 n) {
    if (!has_relief) return n;
    vec3 dx = dFdx(at), dy = dFdy(at);
    vec2 ux = dFdx(at_uv), uy = dFdy(at_uv);
    vec3 t = dx * uy.y - dy * ux.y;
    if (dot(t, t) < 1e-16) return n;
    t = unit(t - n * dot(n, t), vec3(0)) * sign(ux.x * uy.y - ux.y * uy.x);
    vec3 b = cross(n, t);
    vec3 m = texture(relief_map, at_uv).xyz * 2. - 1.;
    return unit(t * m.x + b * m.y + n * max(m.z, .2), n);
}

void main() {
    float shade = 1.;
    if (layers > 0 && (at_length < .0004 || !is_strand(at_root, at_root, at_comb, at_length, at_height, shade))) discard;
    float label = texture(label_map, at_uv).r * 255.;
    what = kind == SKIN && label > 8.5 ? CLOTH : kind;
    vec3 view = normalize(eye - at), n0 = unit(at_normal, normalize(eye - at));
    if (dot(n0, view) < 0. && layers == 0) n0 = what == HAIR || what == CLOTH ? -n0 : n0;
    vec3 n = mapped(n0);
    vec3 srgb = texture(color_map, at_uv).rgb;
    if (layers > 0) srgb *= shade * mix(.72, tip, at_height);
    srgb = clamp(srgb, 0., 1.);
    vec3 albedo = linear(srgb);
    // Under skin light travels, red the farthest: each colour sees a smoother form than the last.
    vec3 nr = unit(mix(n, n0, .75), n0), ng = unit(mix(n, n0, .35), n0);
    vec3 wrap = what == SKIN ? vec3(.34, .16, .10) : layers > 0 || what == HAIR ? vec3(.35) : vec3(.05);
    vec3 along = layers > 0 || what == HAIR
        ? normalize(mix(at_comb + vec3(0, -1e-4, 0), n0, layers > 0 ? .6 * (1. - lie) : 0.)) : vec3(0);
    vec3 diffuse = what == SKIN ? vec3(ambient(nr).r, ambient(ng).g, ambient(n).b) : ambient(n);
    vec3 shine = vec3(0);
    for (int i = 0; i < light_count; i++) {
        vec3 l = light_direction[i];
        float visible = lit(i, n0);
        vec3 d = what == SKIN ? vec3(dot(nr, l), dot(ng, l), dot(n, l)) : vec3(dot(n, l));
        vec3 soft = max(vec3(0), (d + wrap) / (1. + wrap));
        // The edge of a shadow on skin is red.
        vec3 through = what == SKIN ? vec3(pow(visible, .75), visible, pow(visible, 1.1)) : vec3(visible);
        diffuse += light_color[i] * soft * through;
        vec3 h = normalize(l + view);
        if (layers > 0 || what == HAIR) {
            float t = dot(along, h);
            float strand = sqrt(max(0., 1. - t * t));
            shine += light_color[i] * visible * specular * (.35 * pow(strand, 60.) + .12 * pow(strand, 12.) * srgb) * max(0., d.x + .3);
        } else if (d.x > 0.) {
            float f = .04 + .96 * pow(clamp(1. - dot(h, view), 0., 1.), 5.);
            float g = what == SKIN ? .6 * ggx(n, h, roughness) + .4 * ggx(n, h, roughness * .6) : ggx(n, h, roughness);
            shine += light_color[i] * visible * specular * f * g * d.x * .8;
        }
    }
    float occlusion = layers > 0 ? mix(.35, 1.1, at_height) : 1.;
    vec3 color = albedo * diffuse * occlusion + shine * (layers > 0 ? occlusion : 1.);
    if (what == EYE) color += .04 * ambient(reflect(-view, n0)) * specular;
    out_color = vec4(color, 1);
    out_albedo = vec4(srgb, 1);
    out_normal = vec4(n, eye.z - at.z);
    vec3 form = layers > 0 || what == HAIR ? along : cross(n0, vec3(0, 0, 1));
    vec2 flow = dot(form.xy, form.xy) > 1e-8 ? normalize(form.xy) : vec2(0);
    out_other = vec4(label, flow, 1);
}
