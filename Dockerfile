# Airflow as docker-compose.yaml runs it: the official image, and on top of it our packages by the command that MWAA's
# image runs, from the same requirements.txt, with the constraints file at the path that it names.
FROM apache/airflow:3.3.1-python3.12

# the owner: a checkout that only its owner may read works too
COPY --chown=airflow:0 requirements.txt /usr/local/airflow/requirements/requirements.txt
COPY --chown=airflow:0 scripts/mwaa-3.3.1/essential-constraints.txt /usr/local/airflow/requirements/mwaa_essential_constraints.txt
COPY --chown=airflow:0 dags/constraints-3.3.1-canvas.txt /usr/local/airflow/dags/constraints-3.3.1-canvas.txt

# First remove what MWAA's image lacks and what needs a newer aiohttp than the DAP client allows. MWAA starts despite
# conflicts; here `pip check` stops the build.
RUN pip uninstall --yes \
        apache-airflow-providers-cncf-kubernetes apache-airflow-providers-microsoft-azure \
        apache-airflow-providers-slack kubernetes kubernetes_asyncio \
    && pip install --no-cache-dir \
        --constraint /usr/local/airflow/requirements/mwaa_essential_constraints.txt \
        --requirement /usr/local/airflow/requirements/requirements.txt \
    && pip check

# A volume inherits the owner of the folder that it is mounted on.
RUN mkdir /opt/airflow/data /opt/airflow/simulator
