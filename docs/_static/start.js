// What scrolls sideways must be reached by keyboard, too; formulas are set, and windows resized, later.
const reach = new ResizeObserver((entries) => {
  for (const { target } of entries)
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
});
for (const box of document.querySelectorAll("pre, .cell_output, .table-wrapper, .math-wrapper")) reach.observe(box);

pixelwise.start();
