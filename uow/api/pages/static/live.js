// Shows pages as they change. A page is whole without it.
"use strict";

const inZone = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function tellTimes(within) {
  for (const one of within.querySelectorAll("time[datetime]")) {
    one.textContent = inZone.format(new Date(one.dateTime));
  }
}

tellTimes(document);
