// Hair as layers over a surface: where a layer lies, and which of its points belong to a strand.
uniform int layers;      // 0: no strands, the surface itself
uniform int stride;      // layers of the picture for one of the shadow's
uniform float lie, width, curl, clump, density, droop, seed, tip;

float veclen(vec3 v) { return sqrt(dot(v, v)); }

float hash(vec3 p) {
    p = fract(p * vec3(.1031, .1030, .0973));
    p += dot(p, p.yxz + 33.33);
    return fract((p.x + p.y) * p.z);
}

float noise(vec3 p) {
    vec3 i = floor(p), f = fract(p);
    f = f * f * (3. - 2. * f);
    return mix(mix(mix(hash(i), hash(i + vec3(1, 0, 0)), f.x),
                   mix(hash(i + vec3(0, 1, 0)), hash(i + vec3(1, 1, 0)), f.x), f.y),
               mix(mix(hash(i + vec3(0, 0, 1)), hash(i + vec3(1, 0, 1)), f.x),
                   mix(hash(i + vec3(0, 1, 1)), hash(i + vec3(1, 1, 1)), f.x), f.y), f.z);
}

// A point of the surface, `height` (0..1) of its strand's length up.
vec3 grown(vec3 position, vec3 normal, vec3 comb, float length, float height) {
    vec3 lying = veclen(comb) > 0. ? normalize(comb - normal * dot(comb, normal)) : vec3(0);
    float flat_part = lie * smoothstep(0., 1., height);
    vec3 up = normalize(mix(normal, lying + .15 * normal, flat_part));
    vec3 rise = normal * height * (1. - lie) + mix(normal * .35, lying, smoothstep(0., .5, height)) * height * lie;
    return position + length * rise - vec3(0, droop * length * height * height, 0);
}

// Whether a strand is there: `root` where it grows, `at` where this point of it is, both metres.
bool is_strand(vec3 root, vec3 at, vec3 comb, float length, float height, out float shade) {
    vec3 lying = veclen(comb) > 0. ? normalize(comb) : vec3(0);
    // Along the comb the pattern is drawn out, so that a strand is a line on the head.
    vec3 p = root - .85 * lying * dot(root, lying);
    float fine = noise(p / width + seed);
    float lock = noise(root / clump + seed + 7.);
    float straight = fine;
    // Curls: the walls between two slowly turning fields of noise are winding tubes.
    vec3 q = at / clump + seed;
    q += .6 * vec3(noise(q * .9 + 3.), noise(q * .9 + 11.), noise(q * .9 + 19.));
    float a = abs(noise(q) - .5), b = abs(noise(q + 31.) - .5);
    float tube = 1. - smoothstep(0., .32, sqrt(a * a + b * b) * 2.);
    float ringlet = clamp(tube * 1.15 + .25 * (fine - .5), 0., 1.);
    float there = mix(straight, ringlet, curl);
    // Tips end at different heights, lock by lock, and thin out.
    float end = mix(.55, 1., mix(lock, fine, .35));
    if (height > end) return false;
    float thin = height / end;
    shade = mix(.78 + .44 * fine, .55 + .75 * ringlet, curl);
    return there > mix(1. - density, 1. - density * .35, thin * thin);
}
