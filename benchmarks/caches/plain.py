import json

from work import (
    adjusted,
    converted,
    curve,
    grown,
    limited,
    powered,
    prices,
    rates,
    report,
    total,
)

summed = converted(total(limited(grown(prices()))))
print("VALUE", json.dumps(report(summed, adjusted(powered(curve(rates()))))))
