"use strict";
const place = document.getElementById("api");
SwaggerUIBundle({ url: place.dataset.spec, domNode: place, deepLinking: true, validatorUrl: null, tryItOutEnabled: false });
