// theme.js: remembers the reader's choice of light or dark; the pages read well without it.
(function () {
    var root = document.documentElement;
    function stored() {
        try { return localStorage.getItem("theme"); } catch (e) { return null; }
    }
    function dark() {
        var choice = root.getAttribute("data-theme");
        return choice ? choice === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    }
    if (stored()) {
        root.setAttribute("data-theme", stored());
    }
    document.addEventListener("DOMContentLoaded", function () {
        var button = document.getElementById("theme");
        button.hidden = false;
        button.addEventListener("click", function () {
            var choice = dark() ? "light" : "dark";
            root.setAttribute("data-theme", choice);
            try { localStorage.setItem("theme", choice); } catch (e) { /* private window */ }
        });
    });
})();
