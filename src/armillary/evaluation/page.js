// Each film gets a button and a slider of its own; only films in sight run. Without scripts, the browser's controls stay.
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
const all = document.getElementById("all");
const films = [...document.querySelectorAll("video")];
let paused = still;

function fit(film) {
  const { fps, frames } = film.dataset;
  const bar = document.createElement("div");
  bar.className = "bar";
  bar.innerHTML = '<button type="button"></button><input type="range" min="0" value="0" step="1"><output></output>';
  const [button, slider, output] = bar.children;
  slider.max = frames - 1;
  slider.setAttribute("aria-label", "Frame of: " + film.getAttribute("aria-label"));
  film.removeAttribute("controls");
  film.after(bar);
  film.wanted = !still;
  const frame = () => Math.min(frames - 1, Math.floor(film.currentTime * fps + 0.01));
  const show = () => {
    slider.value = frame();
    output.textContent = (frame() / fps).toFixed(1) + " s";
    button.textContent = film.paused ? "Play" : "Pause";
    button.setAttribute("aria-label", button.textContent + ": " + film.getAttribute("aria-label"));
  };
  button.addEventListener("click", () => {
    film.wanted = film.paused;
    film.paused ? film.play() : film.pause();
  });
  slider.addEventListener("input", () => {
    film.wanted = false;
    film.pause();
    film.currentTime = (Number(slider.value) + 0.5) / fps;
  });
  for (const event of ["timeupdate", "play", "pause", "seeked", "loadeddata"]) film.addEventListener(event, show);
  film.addEventListener("click", () => button.click());
  show();
}

const sight = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (isIntersecting && target.wanted && !paused) target.play().catch(() => {});
    else if (!isIntersecting) target.pause();
  }
});

films.forEach(fit);
films.forEach((film) => sight.observe(film));
all.hidden = films.length === 0;
all.textContent = paused ? "Play all films" : "Pause all films";
all.addEventListener("click", () => {
  paused = !paused;
  all.textContent = paused ? "Play all films" : "Pause all films";
  for (const film of films) {
    film.wanted = !paused;
    if (paused) film.pause();
    else film.play().catch(() => {});
  }
});
