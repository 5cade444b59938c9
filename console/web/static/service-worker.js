// @ts-check
// Shows push messages.

/** @type {any} */
const worker = self;

worker.addEventListener("push", (/** @type {any} */ event) => {
  const { title, body, tag } = event.data.json();
  event.waitUntil(worker.registration.showNotification(title, { body, tag, icon: "icon.svg" }));
});

worker.addEventListener("notificationclick", (/** @type {any} */ event) => {
  event.notification.close();
  const page = event.notification.tag.startsWith("alarm") ? "../alarms" : "../visits";
  event.waitUntil(worker.clients.openWindow(new URL(page, worker.location.href).href));
});
