// Proof of work for sign-up forms: finds a number so that SHA-256("<token>.<number>") begins with so
// many zero bits. Works without crypto.subtle, which plain http does not have.
(() => {
  "use strict";
  const K = new Uint32Array(64);
  const START = new Uint32Array(8);
  // The constants are the fractions of cube and square roots of the first primes (FIPS 180-4).
  const fraction = (x) => ((x - Math.floor(x)) * 4294967296) | 0;
  for (let n = 2, count = 0; count < 64; n++) {
    let prime = true;
    for (let f = 2; f * f <= n; f++) if (n % f === 0) { prime = false; break; }
    if (!prime) continue;
    if (count < 8) START[count] = fraction(Math.sqrt(n));
    K[count++] = fraction(Math.cbrt(n));
  }
  const turn = (x, n) => (x >>> n) | (x << (32 - n));
  const w = new Uint32Array(64);

  const firstWords = (bytes) => {
    const blocks = ((bytes.length + 8) >> 6) + 1;
    const padded = new Uint8Array(blocks * 64);
    padded.set(bytes);
    padded[bytes.length] = 0x80;
    new DataView(padded.buffer).setUint32(padded.length - 4, bytes.length * 8);
    const view = new DataView(padded.buffer);
    const h = START.slice();
    for (let at = 0; at < padded.length; at += 64) {
      for (let i = 0; i < 16; i++) w[i] = view.getUint32(at + i * 4);
      for (let i = 16; i < 64; i++) {
        const a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ (a >>> 3)) + w[i - 7] + (turn(b, 17) ^ turn(b, 19) ^ (b >>> 10));
      }
      let [a, b, c, d, e, f, g, last] = h;
      for (let i = 0; i < 64; i++) {
        const one = (last + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
        const two = ((turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))) | 0;
        last = g; g = f; f = e; e = (d + one) | 0; d = c; c = b; b = a; a = (one + two) | 0;
      }
      h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e; h[5] += f; h[6] += g; h[7] += last;
    }
    return h[0];
  };

  const form = document.querySelector("form[data-bits]");
  if (!form) return;
  form.addEventListener("submit", (event) => {
    if (form.proof.value) return;
    event.preventDefault();
    const bits = Number(form.dataset.bits);
    const button = form.querySelector("button.main");
    button.disabled = true;
    button.textContent = form.dataset.wait;
    const coder = new TextEncoder();
    let number = 0;
    const work = () => {
      const until = Date.now() + 40;
      while (Date.now() < until) {
        if (firstWords(coder.encode(`${form.token.value}.${number}`)) >>> (32 - bits) === 0) {
          form.proof.value = String(number);
          form.submit();
          return;
        }
        number++;
      }
      setTimeout(work);
    };
    work();
  });
})();
