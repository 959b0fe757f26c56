// Light, as all that is drawn shares it.
uniform sampler2DShadow shadows;
uniform int light_count;
uniform vec3 eye, irradiance[9];
uniform vec3 light_direction[16], light_color[16];
uniform mat4 light_matrix[16];

vec3 to_linear(vec3 c) { return mix(c / 12.92, pow((c + .055) / 1.055, vec3(2.4)), step(.04045, c)); }

vec3 unit_of(vec3 v, vec3 otherwise) {
    float size = dot(v, v);
    return size > 1e-12 ? v * inversesqrt(size) : otherwise;
}

// Ramamoorthi and Hanrahan 2001, "An efficient representation for irradiance environment maps".
vec3 ambient(vec3 n) {
    return max(vec3(0), .282095 * irradiance[0] + .488603 * (irradiance[1] * n.y + irradiance[2] * n.z + irradiance[3] * n.x)
        + 1.092548 * (irradiance[4] * n.x * n.y + irradiance[5] * n.y * n.z + irradiance[7] * n.x * n.z)
        + .315392 * irradiance[6] * (3. * n.z * n.z - 1.) + .546274 * irradiance[8] * (n.x * n.x - n.y * n.y));
}

// How much of a light reaches a point; what stands less than `nearest` metres before it throws no shadow.
float reaches(int i, vec3 point, float nearest) {
    vec4 p = light_matrix[i] * vec4(point, 1);
    vec3 c = p.xyz / p.w * .5 + .5;
    if (any(lessThan(c, vec3(0))) || any(greaterThan(c, vec3(1)))) return 1.;
    // One tap, filtered: that shadows are soft comes from many lights.
    vec2 tile = vec2(float(i % 4), float(i / 4));
    return texture(shadows, vec3((clamp(c.xy, .002, .998) + tile) / 4., c.z - nearest / 1.2));
}
