#version 330
out vec2 at;

void main() {
    at = vec2(float(gl_VertexID % 2), float(gl_VertexID / 2)) * 4. - 1.;
    gl_Position = vec4(at, 0, 1);
}
